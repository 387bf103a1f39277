/** A build's context: the files of its client, unpacked into a directory of their own, without what they ignore. */
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join, posix } from 'node:path';

import { readFromRoot, type RootSyscalls } from '../containers/root-files.ts';
import type { Trees } from '../containers/trees.ts';
import { invalid } from '../errors.ts';
import { ignorePatterns, ignoreRules, type IgnoreRules } from '../ignore-file.ts';
import { checkoutGit, type GitReference } from './git.ts';

/** What a context is made with. */
export interface ContextOptions {
  trees: Trees;
  syscalls: RootSyscalls;
  /** A directory that is not there yet. */
  directory: string;
  /** Of the Dockerfile, below the context. */
  dockerfile: string;
  signal: AbortSignal;
}

/** Files to build from. Dispose of it to remove them. */
export interface BuildContext extends AsyncDisposable {
  readonly directory: string;
  /** Text of the Dockerfile. */
  readonly dockerfile: string;
  /** What was left out. */
  readonly rules: IgnoreRules | undefined;
}

/**
 * Unpacks `archive` (plain, gzip, zstd, xz or bzip2). Everything belongs to root, whoever it belonged to at the client.
 *
 * @throws {EngineError} `INVALID` for a broken archive, and for a Dockerfile that is missing or empty
 */
export function openContext(
  archive: AsyncIterable<Uint8Array>,
  options: ContextOptions,
): Promise<BuildContext> {
  const { directory, trees, signal } = options;
  return open(options, async () => {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    try {
      await trees.extract(archive, directory, '/', { owner: { uid: 0, gid: 0 }, sameKind: false, signal });
    } catch (error) {
      signal.throwIfAborted();
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'IO_ERROR') throw error;
      throw invalid(`the build context cannot be unpacked: ${message}`, { cause: error });
    }
  });
}

/** Takes a git repository. @throws {EngineError} `INVALID` as {@link openContext}, and for what git refuses */
export function openGitContext(reference: GitReference, options: ContextOptions): Promise<BuildContext> {
  const { directory, signal } = options;
  return open(options, async () => void (await checkoutGit(reference, directory, { signal })));
}

/**
 * A directory of this machine, as it is: what it ignores is left out of a copy, everything else is read in place.
 *
 * @param options.directory - of the copy, if there is one; not there yet
 */
export async function openLocalContext(root: string, options: ContextOptions): Promise<BuildContext> {
  const { directory, trees, signal } = options;
  const own = { ...options, directory: root };
  const rules = await readIgnoreRules(own);
  const dockerfile = readDockerfile(own);
  if (!rules) return { directory: root, dockerfile, rules, [Symbol.asyncDispose]: () => Promise.resolve() };
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    const exclude = (path: string, isDirectory: boolean): boolean =>
      rules.ignores(path) && !(isDirectory && rules.hasExceptions);
    const tree = { kind: 'tree' as const, root, path: '/', name: '', exclude };
    await trees.extract(trees.layer([tree], signal), directory, '/', { sameKind: false, signal });
    if (rules.hasExceptions) await removeIgnored(directory, '', rules);
  } catch (error) {
    await remove();
    throw error;
  }
  return { directory, dockerfile, rules, [Symbol.asyncDispose]: remove };
}

async function open(options: ContextOptions, fill: () => Promise<void>): Promise<BuildContext> {
  const { directory } = options;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  await fill();
  const dockerfile = readDockerfile(options);
  const rules = await readIgnoreRules(options);
  if (rules) await removeIgnored(directory, '', rules);
  undo.move();
  return {
    directory,
    dockerfile,
    rules,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

function readDockerfile({ directory, dockerfile, syscalls }: ContextOptions): string {
  const path = posix.join('/', dockerfile);
  const text =
    readFromRoot(directory, path, syscalls) ??
    // as the classic builder did, for file systems that do not mind
    (dockerfile === 'Dockerfile' ? readFromRoot(directory, '/dockerfile', syscalls) : undefined);
  if (text === undefined) throw invalid(`Cannot locate specified Dockerfile: ${dockerfile}`);
  if (text.trim() === '') throw invalid(`the Dockerfile (${dockerfile}) cannot be empty`);
  return text;
}

/** The rules of `<Dockerfile>.dockerignore`, or of `.dockerignore`. */
async function readIgnoreRules(options: ContextOptions): Promise<IgnoreRules | undefined> {
  const { directory, dockerfile, syscalls } = options;
  const own = readFromRoot(directory, posix.join('/', `${dockerfile}.dockerignore`), syscalls);
  const text = own ?? readFromRoot(directory, '/.dockerignore', syscalls);
  if (text === undefined) return undefined;
  try {
    return ignoreRules(ignorePatterns(text));
  } catch (error) {
    throw invalid(`.dockerignore: ${(error as Error).message}`, { cause: error });
  }
}

/** Removes what is ignored below `path`; directories that hold an exception stay. */
async function removeIgnored(directory: string, path: string, rules: IgnoreRules): Promise<void> {
  for (const entry of await readdir(join(directory, path), { withFileTypes: true })) {
    const child = path === '' ? entry.name : `${path}/${entry.name}`;
    const ignored = rules.ignores(child);
    const whole = join(directory, child);
    if (!entry.isDirectory()) {
      if (ignored) await rm(whole, { force: true });
    } else if (ignored && !rules.hasExceptions) await rm(whole, { recursive: true, force: true });
    else {
      await removeIgnored(directory, child, rules);
      if (ignored) {
        await rmdir(whole).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOTEMPTY') throw error;
        });
      }
    }
  }
}
