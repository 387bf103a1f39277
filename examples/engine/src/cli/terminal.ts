/** The user's terminal while a container's process has it: detach keys, line feeds, and its size. */
import type { Cli } from './cli.ts';
import { UsageError } from './errors.ts';

/** ctrl-p ctrl-q, as in Docker. */
export const defaultDetachKeys = 'ctrl-p,ctrl-q';

const controls: Record<string, number> = { '@': 0, '[': 27, '\\': 28, ']': 29, '^': 30, _: 31 };

/**
 * A detach sequence such as `ctrl-p,ctrl-q` or `a,b,c` as bytes.
 *
 * @throws {UsageError} for a key that has no byte
 */
export function parseDetachKeys(text: string): number[] {
  return text.split(',').map((key) => {
    if (key.length === 1) return key.charCodeAt(0);
    const control = /^ctrl-(.)$/i.exec(key)?.[1]?.toLowerCase();
    if (control && /[a-z]/.test(control)) return control.charCodeAt(0) - 96;
    const code = control && controls[control];
    if (code === undefined || code === '') throw new UsageError(`Unknown character: '${key}'`);
    return code;
  });
}

/** Watches typed bytes for the detach sequence, holding back what may be its beginning. */
export class DetachWatcher {
  readonly #keys: readonly number[];
  #matched = 0;

  constructor(keys: readonly number[]) {
    this.#keys = keys;
  }

  /** What to pass on of `chunk`, and whether the sequence is complete; nothing after it is passed on. */
  filter(chunk: Uint8Array): { bytes: Uint8Array; detached: boolean } {
    const out: number[] = [];
    for (const byte of chunk) {
      if (byte === this.#keys[this.#matched]) {
        this.#matched++;
        if (this.#matched === this.#keys.length) return { bytes: Uint8Array.from(out), detached: true };
        continue;
      }
      out.push(...this.#keys.slice(0, this.#matched));
      this.#matched = byte === this.#keys[0] ? 1 : 0;
      if (this.#matched === 0) out.push(byte);
    }
    return { bytes: Uint8Array.from(out), detached: false };
  }
}

const carriageReturn = 0x0d;
const lineFeed = 0x0a;
/** ESC D, "index": the cursor goes down a line and keeps its column. */
const index = [0x1b, 0x44];

/**
 * Keeps a bare line feed from returning the carriage.
 *
 * Node's raw mode leaves the terminal's output processing on, which turns every line feed into CR LF. A full-screen
 * program in the container has switched that off on its side and means "down one line" by it. So a line feed without
 * a carriage return before it is sent as the control sequence of that meaning.
 */
export class LineFeedKeeper {
  #last = 0;

  transform(chunk: Buffer): Buffer {
    let bare = false;
    let previous = this.#last;
    for (const byte of chunk) {
      bare ||= byte === lineFeed && previous !== carriageReturn;
      previous = byte;
    }
    const before = this.#last;
    this.#last = previous;
    if (!bare) return chunk;
    const out: number[] = [];
    let last = before;
    for (const byte of chunk) {
      if (byte === lineFeed && last !== carriageReturn) out.push(...index);
      else out.push(byte);
      last = byte;
    }
    return Buffer.from(out);
  }
}

/** How often the first resize is tried: the process may not have its terminal yet. */
const resizeAttempts = 10;

/**
 * Makes whatever runs in a container draw its screen again: it is resized away from the user's size, and
 * {@link followTerminalSize} then brings it back.
 */
export async function provokeRedraw(cli: Cli, path: string): Promise<void> {
  const { columns, rows } = cli.stdout;
  if (!columns || !rows) return;
  const query = { h: rows + 1, w: columns + 1 };
  // Only cosmetic: a container that has just ended cannot be resized.
  await cli.client.text('POST', `${path}/resize`, { query }).catch(() => undefined);
}

/**
 * Keeps a container's or exec's terminal as large as the user's.
 *
 * @param path the object's API path, such as `/containers/<id>`
 * @returns stops following
 */
export function followTerminalSize(cli: Cli, path: string): () => void {
  const { stdout } = cli;
  const resize = async (): Promise<void> => {
    const { columns, rows } = stdout;
    if (!columns || !rows) return;
    (await cli.client.call('POST', `${path}/resize`, { query: { h: rows, w: columns } })).resume();
  };
  const stopping = new AbortController();
  const { signal } = stopping;
  const first = async (attempt = 1): Promise<void> => {
    try {
      await resize();
    } catch {
      // Expected right after the start; only when it never works is the user told.
      if (signal.aborted) return;
      if (attempt === resizeAttempts) return cli.warn('failed to resize tty, using default size');
      setTimeout(() => void first(attempt + 1), attempt * 10).unref();
    }
  };
  // A process that has just ended has no terminal to resize; that is no news.
  const onResize = (): void => void resize().catch(() => undefined);
  stdout.on('resize', onResize);
  void first();
  return () => {
    stopping.abort();
    stdout.off('resize', onResize);
  };
}
