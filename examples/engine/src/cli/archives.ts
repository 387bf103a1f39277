/** Archives that a command sends or receives: out of a file, into a file, which appears whole or not at all, or to standard output. */
import { createWriteStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Cli } from './cli.ts';
import { CliError } from './errors.ts';

/**
 * Checks where an archive is to go, before anything is asked of the daemon.
 *
 * @param path file name; empty for standard output
 * @param what the command's verb and object, `save image`, for messages
 * @throws {CliError}
 */
export async function checkArchiveOutput(cli: Cli, path: string, what: string): Promise<void> {
  if (path === '') {
    if (cli.stdout.isTTY) {
      throw new CliError(
        `cowardly refusing to ${what.split(' ', 1)[0]} to a terminal. Use the -o flag or redirect`,
      );
    }
    return;
  }
  const directory = dirname(resolve(cli.workingDirectory, path));
  const there = await stat(directory).catch(() => undefined);
  if (!there) throw invalidOutput(what, `stat ${directory}: no such file or directory`);
  if (!there.isDirectory()) throw invalidOutput(what, `${directory} is not a directory`);
}

function invalidOutput(what: string, why: string): CliError {
  return new CliError(`failed to ${what}: invalid output path: ${why}`);
}

/** Opens a file to send. @throws {CliError} in the words of the system */
export async function openInput(cli: Cli, path: string): Promise<Readable> {
  try {
    return (await open(resolve(cli.workingDirectory, path))).createReadStream();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why =
      code === 'ENOENT' ? 'no such file or directory' : code === 'EACCES' ? 'permission denied' : message;
    throw new CliError(`open ${path}: ${why}`, { cause });
  }
}

/** Writes the body of `response` to a file or, for an empty `path`, to standard output. */
export async function writeArchive(cli: Cli, response: IncomingMessage, path: string): Promise<void> {
  if (path === '') {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (!cli.stdout.write(chunk)) await new Promise((drained) => cli.stdout.once('drain', drained));
    }
    return;
  }
  const target = resolve(cli.workingDirectory, path);
  const temporary = `${target}.${process.pid}.part`;
  try {
    await pipeline(response, createWriteStream(temporary, { mode: 0o600 }));
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
