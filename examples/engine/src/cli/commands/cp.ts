/** `tare cp`: copies files between a container and this machine, by the rules of cp(1) with a trailing slash and `/.`. */
import { lstatSync, realpathSync, statSync, type Stats } from 'node:fs';
import { basename, dirname, posix, resolve } from 'node:path';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { CliError, UsageError } from '../errors.ts';
import { toggle } from '../flags.ts';
import { decimalSize } from '../format/units.ts';

/** `X-Docker-Container-Path-Stat`. */
interface PathStat {
  name: string;
  mode: number;
  linkTarget: string;
}

const GO_DIRECTORY = 2 ** 31;
const GO_SYMLINK = 2 ** 27;

interface Options {
  archive: boolean;
  followLink: boolean;
}

/** `cp`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\ttare cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH',
  summary: `Copy files/folders between a container and the local filesystem

Use '-' as the source to read a tar archive from stdin
and extract it to a directory destination in a container.
Use '-' as the destination to stream a tar archive of a
container source to stdout.`,
  args: { min: 2 },
  flags: {
    archive: toggle('Archive mode (copy all uid/gid information)', { short: 'a' }),
    followLink: toggle('Always follow symbol link in SRC_PATH', { short: 'L' }),
    quiet: toggle(
      'Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached',
      { short: 'q' },
    ),
  },
  async run({ cli, flags, given, args: [source, target] }) {
    const from = parsePlace(source!);
    const to = parsePlace(target!);
    if (from.path === '') throw new UsageError('source can not be empty');
    if (to.path === '') throw new UsageError('destination can not be empty');
    if (from.container !== '' && to.container !== '') {
      throw new UsageError('copying between containers is not supported');
    }
    if (from.container === '' && to.container === '') {
      throw new UsageError('must specify at least one container source');
    }
    const quiet = given.has('quiet') ? flags.quiet : !cli.stdout.isTTY;
    const meter = new Meter(cli, quiet || source === '-' || target === '-');
    const work = from.container === '' ? copyIn : copyOut;
    await work(cli, from, to, flags, meter);
    meter.finish(target!);
  },
});

interface Place {
  /** Empty for this machine. */
  container: string;
  path: string;
}

/** `container:path`, unless it begins like a path of this machine. */
function parsePlace(text: string): Place {
  const colon = text.indexOf(':');
  if (colon < 1 || /^[./]/.test(text)) return { container: '', path: text };
  return { container: text.slice(0, colon), path: text.slice(colon + 1) };
}

/** Counts what goes by, and shows it on a terminal. */
class Meter {
  #bytes = 0;
  readonly #cli: Cli;
  readonly #silent: boolean;
  #shownAt = 0;

  constructor(cli: Cli, silent: boolean) {
    this.#cli = cli;
    this.#silent = silent;
  }

  async *through(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    for await (const chunk of source) {
      this.#bytes += chunk.byteLength;
      this.#show();
      yield chunk;
    }
  }

  #show(): void {
    if (this.#silent || !this.#cli.stderr.isTTY || performance.now() - this.#shownAt < 100) return;
    this.#shownAt = performance.now();
    this.#cli.stderr.write(`\r\x1b[KCopying - ${decimalSize(this.#bytes)}`);
  }

  finish(target: string): void {
    if (this.#silent) return;
    if (this.#cli.stderr.isTTY) this.#cli.stderr.write('\r\x1b[K');
    this.#cli.warn(`Successfully copied ${decimalSize(this.#bytes)} to ${target}`);
  }
}

const endsAsDirectory = (path: string): boolean => /(?:^|\/)\.?$/.test(path);
const meansContent = (path: string): boolean => /(?:^|\/)\.$/.test(path);

// ---- out of a container

async function copyOut(cli: Cli, from: Place, to: Place, options: Options, meter: Meter): Promise<void> {
  let path = from.path;
  if (options.followLink) {
    const { linkTarget } = await statInside(cli, from.container, path);
    if (linkTarget) path = posix.resolve(posix.dirname(absolute(path)), linkTarget);
  }
  if (to.path === '-') {
    if (cli.stdout.isTTY)
      throw new CliError('cowardly refusing to write an archive to a terminal. Redirect it');
    const { writeArchive } = await import('../archives.ts');
    return writeArchive(cli, await openArchive(cli, from.container, path), '');
  }
  const target = resolve(cli.workingDirectory, to.path);
  const stat = statSync(target, { throwIfNoEntry: false });
  const isDirectory = ((await statInside(cli, from.container, path)).mode & GO_DIRECTORY) !== 0;
  if (!stat) {
    const parent = dirname(target);
    if (!statSync(parent, { throwIfNoEntry: false })?.isDirectory()) {
      throw new CliError(`invalid output path: directory ${JSON.stringify(parent)} does not exist`);
    }
    if (!isDirectory && endsAsDirectory(to.path)) throw new CliError('no such directory');
  } else if (isDirectory && !stat.isDirectory()) throw new CliError('cannot copy directory');
  const { extractFile, extractInto, makeDirectory } = await import('../local-trees.ts');
  if (stat?.isDirectory()) {
    const archive = await openArchive(cli, from.container, path);
    return extractInto(realpathSync(target), meter.through(archive), options.archive);
  }
  if (isDirectory) {
    const archive = await openArchive(cli, from.container, meansContent(path) ? path : `${path}/.`);
    await makeDirectory(target);
    return extractInto(target, meter.through(archive), options.archive);
  }
  // an existing link is written through, as cp(1) does
  const place = stat ? realpathSync(target) : target;
  const archive = await openArchive(cli, from.container, path);
  return extractFile(place, meter.through(archive), options.archive);
}

const absolute = (path: string): string => posix.join('/', path);

async function openArchive(cli: Cli, container: string, path: string): Promise<IncomingMessage> {
  return cli.client.call('GET', `/containers/${container}/archive`, { query: { path } });
}

async function statInside(cli: Cli, container: string, path: string): Promise<PathStat> {
  const response = await cli.client
    .call('HEAD', `/containers/${container}/archive`, { query: { path } })
    .catch(async (error: unknown) => {
      // an answer to HEAD has no words; the same question by GET has
      (await openArchive(cli, container, path)).destroy();
      throw error;
    });
  response.resume();
  const header = String(response.headers['x-docker-container-path-stat']);
  return JSON.parse(Buffer.from(header, 'base64').toString()) as PathStat;
}

// ---- into a container

async function copyIn(cli: Cli, from: Place, to: Place, options: Options, meter: Meter): Promise<void> {
  const target = await resolveInside(cli, to.container, to.path);
  const query = { noOverwriteDirNonDir: true, copyUIDGID: options.archive };
  const send = async (path: string, body: Readable): Promise<void> => {
    await cli.client.text('PUT', `/containers/${to.container}/archive`, {
      query: { ...query, path },
      headers: { 'Content-Type': 'application/x-tar' },
      body,
    });
  };
  if (from.path === '-') {
    if (!target.isDirectory) {
      throw new CliError(
        `destination "${to.container}:${to.path}" must be a directory to extract an archive into`,
      );
    }
    return send(target.path, cli.stdin);
  }
  const source = resolve(cli.workingDirectory, from.path);
  const stat = localStat(source, options.followLink || endsAsDirectory(from.path));
  if (endsAsDirectory(from.path) && !stat.isDirectory()) throw new CliError('not a directory');
  if (!target.exists && endsAsDirectory(to.path) && !stat.isDirectory())
    throw new CliError('no such directory');
  if (target.exists && !target.isDirectory && stat.isDirectory()) {
    throw new CliError(`cannot copy a directory over a file`);
  }
  const followed = options.followLink || endsAsDirectory(from.path) ? realpathSync(source) : source;
  const { packLocal } = await import('../local-trees.ts');
  const own = options.archive ? undefined : { uid: 0, gid: 0 };
  const packed = (as: string): Readable => packLocal(followed, as, own, (bytes) => meter.through(bytes));
  if (target.isDirectory) return send(target.path, packed(meansContent(from.path) ? '.' : basename(source)));
  return send(posix.dirname(target.path), packed(posix.basename(target.path)));
}

function localStat(path: string, follow: boolean): Stats {
  const stat = (follow ? statSync : lstatSync)(path, { throwIfNoEntry: false });
  if (!stat) throw new CliError(`lstat ${path}: no such file or directory`);
  return stat;
}

/** Where in the container a copy goes: the last link of the path is followed, as far as it leads. */
async function resolveInside(
  cli: Cli,
  container: string,
  path: string,
): Promise<{ path: string; exists: boolean; isDirectory: boolean }> {
  const whole = absolute(path);
  const { DaemonError } = await import('../errors.ts');
  const look = (at: string): Promise<PathStat | undefined> =>
    statInside(cli, container, at).catch(async (error: unknown) => {
      if (error instanceof DaemonError && error.status === 404) return undefined;
      throw error;
    });
  let stat = await look(whole);
  let place = whole;
  if (stat && (stat.mode & GO_SYMLINK) !== 0) {
    place = posix.resolve(posix.dirname(whole), stat.linkTarget);
    stat = await look(place);
  }
  if (stat) return { path: place, exists: true, isDirectory: (stat.mode & GO_DIRECTORY) !== 0 };
  // of a missing container or parent, the daemon says so
  await statInside(cli, container, posix.dirname(place));
  return { path: place, exists: false, isDirectory: false };
}
