/** Large bodies in large pieces: what came while the last piece was worked on is handed over at once. */
import { finished, type Readable } from 'node:stream';

/** The sender is held up when so much waits. */
const MOST_BYTES = 1024 * 1024;
/** Less is waited with, for so long, whether more comes. */
const ENOUGH_BYTES = 256 * 1024;
const PATIENCE_MS = 5;

/**
 * Everything that `source` gives, in pieces of up to a mebibyte or so. A few pieces cost a fraction of what the same bytes
 * cost in thousands. When it is stopped early the source is paused: it is its owner's.
 *
 * @throws the error of `source`, also when it is cut short
 */
export async function* gathered(source: Readable): AsyncGenerator<Buffer, void, undefined> {
  let parts: Buffer[] = [];
  let bytes = 0;
  let end: { error: unknown } | undefined;
  let news = Promise.withResolvers<void>();
  let patience: NodeJS.Timeout | undefined;
  const onData = (part: Buffer): void => {
    parts.push(part);
    bytes += part.length;
    if (bytes >= MOST_BYTES) source.pause();
    if (bytes >= ENOUGH_BYTES) news.resolve();
    else patience ??= setTimeout(() => news.resolve(), PATIENCE_MS);
  };
  const forget = finished(source, { writable: false }, (error) => {
    end = { error };
    news.resolve();
  });
  source.on('data', onData);
  try {
    for (;;) {
      await news.promise;
      news = Promise.withResolvers();
      clearTimeout(patience);
      patience = undefined;
      if (bytes > 0) {
        const piece = parts.length === 1 ? parts[0]! : Buffer.concat(parts, bytes);
        parts = [];
        bytes = 0;
        source.resume();
        if (end !== undefined) news.resolve();
        yield piece;
      } else if (end !== undefined) {
        if (end.error) throw end.error;
        return;
      }
    }
  } finally {
    clearTimeout(patience);
    forget();
    source.off('data', onData);
    if (end === undefined) source.pause();
  }
}
