/** Archives in compressions that Node has none of: xz and bzip2, through the host's own programs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';

import { invalid, systemError } from './errors.ts';

/** A compression by its first bytes. */
const PROGRAMS = [
  { magic: [0x42, 0x5a, 0x68], command: 'bzip2', args: ['-dc'], package: 'bzip2' },
  {
    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
    command: 'xz',
    // enough for what `xz -9` makes, and not for what asks for everything there is
    args: ['-dcq', '--memlimit-decompress=256MiB'],
    package: 'xz-utils',
  },
] as const;

/** Whether a file that begins with these bytes is compressed by one of them. */
export function isForeign(head: Uint8Array): boolean {
  return programFor(head) !== undefined;
}

/**
 * `source` decompressed if it is xz or bzip2, else as it is. Stopping early stops the source too.
 *
 * @throws {EngineError} `INVALID` for broken data, `SYSTEM` without the program
 */
export async function* withoutForeign(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  const read: Uint8Array[] = [];
  let length = 0;
  while (length < 6) {
    const next = await iterator.next();
    if (next.done === true) break;
    read.push(next.value);
    length += next.value.length;
  }
  const whole = (async function* again() {
    try {
      yield* read;
      yield* { [Symbol.asyncIterator]: () => iterator };
    } finally {
      await iterator.return?.();
    }
  })();
  const program = programFor(Buffer.concat(read));
  yield* program ? through(whole, program) : whole;
}

type Program = (typeof PROGRAMS)[number];

function programFor(head: Uint8Array): Program | undefined {
  return PROGRAMS.find(({ magic }) => magic.every((byte, i) => head[i] === byte));
}

async function* through(source: AsyncIterable<Uint8Array>, program: Program): AsyncGenerator<Uint8Array> {
  const { command, args } = program;
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = once(child, 'close') as Promise<[number | null]>;
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (words += text));
  const feeding = pipeline(source, child.stdin).catch((error: unknown) => error);
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    const [code] = await ended;
    if (code !== 0)
      throw invalid(`${command} cannot read the archive: ${words.trim() || `it ended with ${code}`}`);
    const failure = await feeding;
    // a program that has read enough closes its input
    if (failure instanceof Error && (failure as NodeJS.ErrnoException).code !== 'EPIPE') throw failure;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw systemError(`archives of ${command} need ${command} on this host: install ${program.package}`, {
      cause: error,
    });
  } finally {
    child.kill('SIGKILL');
    await Promise.allSettled([ended, feeding]);
  }
}
