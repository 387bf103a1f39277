/** A body on its way to the daemon, with a line on the terminal that says how far it is. */
import { Readable } from 'node:stream';
import type { Cli } from './cli.ts';
import { decimalSize, ellipsis } from './format/units.ts';
import { canDraw, type ProgressMode } from './progress.ts';
import { Rate } from './rate.ts';
import { screenOf } from './screen.ts';

const FRAME_MS = 100;

/**
 * The same bytes; while they go by, `label`, their number, rate and the time left are shown on stderr when that is a
 * terminal. The line is gone when they end.
 *
 * @param total how many there will be; 0 when that is not known
 */
export function metered(
  cli: Cli,
  body: Readable,
  label: string,
  total: number,
  mode: ProgressMode,
): Readable {
  if (mode === 'plain' || mode === 'json' || mode === 'quiet' || !canDraw(cli, cli.stderr)) return body;
  const rate = new Rate();
  let bytes = 0;
  let shownAt = performance.now();
  async function* watched(): AsyncIterable<Buffer> {
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        show();
        yield chunk;
      }
    } finally {
      cli.stderr.write('\r\x1b[K');
    }
  }
  function show(): void {
    const now = performance.now();
    if (now - shownAt < FRAME_MS) return;
    shownAt = now;
    rate.add(bytes, now);
    const size = total > 0 ? `${decimalSize(bytes)}/${decimalSize(total)}` : decimalSize(bytes);
    const text = [label, size, ...rate.figures(bytes, total)].join('  ');
    cli.stderr.write(`\r\x1b[K${ellipsis(text, screenOf(cli.stderr).columns - 1)}`);
  }
  return Readable.from(watched());
}
