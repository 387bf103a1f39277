/** The files of a build on their way to the daemon: a directory without what it ignores, as an archive. */
import { createReadStream } from 'node:fs';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pack, type Header, type Pack } from 'tar-stream';
import { ignorePatterns, ignoreRules, type IgnoreRules } from '../ignore-file.ts';
import { CliError } from './errors.ts';

/** A context to send. */
export interface ContextToSend {
  archive: Readable;
  /** Of the Dockerfile, in the archive. */
  dockerfile: string;
}

/** Name in the archive of a Dockerfile that is not part of the context. */
const FOREIGN_DOCKERFILE = '.dockerfile.from-elsewhere';

/**
 * Packs `directory`. Owners are left out: files of a build belong to root.
 *
 * @param file the Dockerfile's path from the working directory; empty for `Dockerfile` in the directory
 * @throws {CliError} when either is not there
 */
export async function packContext(
  directory: string,
  file: string,
  workingDirectory: string,
): Promise<ContextToSend> {
  const root = resolve(workingDirectory, directory);
  const stat = await lstat(root).catch(() => undefined);
  if (!stat) throw new CliError(`unable to prepare context: path ${JSON.stringify(directory)} not found`);
  if (!stat.isDirectory()) {
    throw new CliError(`unable to prepare context: context must be a directory: ${root}`);
  }
  const path = file === '' ? join(root, 'Dockerfile') : resolve(workingDirectory, file);
  const text = await readFile(path).catch((cause: unknown) => {
    throw new CliError(
      `unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat ${path}: no such file or directory`,
      { cause },
    );
  });
  const inside = relative(root, path).split(sep).join('/');
  const foreign = inside.startsWith('../') || inside === '..';
  const archive = pack();
  const rules = await rulesOf(root, foreign ? undefined : inside);
  void fill(archive, root, rules, foreign ? text : undefined).catch((error: unknown) =>
    archive.destroy(error as Error),
  );
  return { archive: asReadable(archive), dockerfile: foreign ? FOREIGN_DOCKERFILE : inside };
}

async function rulesOf(root: string, dockerfile: string | undefined): Promise<IgnoreRules> {
  const own = dockerfile === undefined ? undefined : await textOf(join(root, `${dockerfile}.dockerignore`));
  const text = own ?? (await textOf(join(root, '.dockerignore'))) ?? '';
  const rules = ignoreRules(ignorePatterns(text));
  // the daemon needs these two, and leaves them out of the copy itself
  const needed = new Set([dockerfile, '.dockerignore', `${dockerfile}.dockerignore`]);
  return { ...rules, ignores: (path) => !needed.has(path) && rules.ignores(path) };
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function fill(
  archive: Pack,
  root: string,
  rules: IgnoreRules,
  foreign: Buffer | undefined,
): Promise<void> {
  await addDirectory(archive, root, '', rules);
  if (foreign) archive.entry({ name: FOREIGN_DOCKERFILE, mode: 0o644 }, foreign);
  archive.finalize();
}

async function addDirectory(archive: Pack, root: string, path: string, rules: IgnoreRules): Promise<void> {
  for (const entry of (await readdir(join(root, path))).sort()) {
    const name = path === '' ? entry : `${path}/${entry}`;
    const ignored = rules.ignores(name);
    const whole = join(root, name);
    const stat = await lstat(whole);
    const common = { name, mode: stat.mode & 0o7777, mtime: stat.mtime, uid: 0, gid: 0 };
    if (stat.isDirectory()) {
      if (!ignored) await addEntry(archive, { ...common, type: 'directory' });
      // an exception may be further down
      if (!ignored || rules.hasExceptions) await addDirectory(archive, root, name, rules);
    } else if (ignored) continue;
    else if (stat.isSymbolicLink()) {
      await addEntry(archive, { ...common, type: 'symlink', linkname: await readlink(whole) });
    } else if (stat.isFile()) {
      const sink = archive.entry({ ...common, size: stat.size });
      // cut where the archive says it ends: it may be growing
      await pipeline(createReadStream(whole, stat.size === 0 ? {} : { end: stat.size - 1 }), sink);
    }
  }
}

function addEntry(archive: Pack, header: Partial<Header> & { name: string }): Promise<void> {
  const { promise, resolve: done, reject } = Promise.withResolvers<void>();
  archive.entry(header, (error) => (error ? reject(error) : done()));
  return promise;
}

/** Its streams are of another make, with the same methods. */
export function asReadable(archive: Pack): Readable {
  return archive as unknown as Readable;
}

/** A Dockerfile that comes without other files. */
export function packDockerfile(text: Buffer): ContextToSend {
  const archive = pack();
  archive.entry({ name: 'Dockerfile', mode: 0o644 }, text);
  archive.finalize();
  return { archive: asReadable(archive), dockerfile: 'Dockerfile' };
}
