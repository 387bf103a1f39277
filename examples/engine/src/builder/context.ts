/** A build's context: the files of its client, without what they ignore. */
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join, posix } from 'node:path';

import type { FileHasher } from '@tare/layer-store';

import { readFromRoot, type RootSyscalls } from '../containers/root-files.ts';
import type { Trees } from '../containers/trees.ts';
import { invalid } from '../errors.ts';
import { ignorePatterns, ignoreRules, type IgnoreRules } from '../ignore-file.ts';
import { checkoutGit, type GitReference } from './git.ts';
import type { ContextFiles } from './request.ts';
import { spoolArchive } from './spool-archive.ts';
import { Spool } from './spool.ts';
import { SpooledTree, type TreeNode } from './spooled-tree.ts';

/** What a context is made with. */
export interface ContextOptions {
  trees: Trees;
  syscalls: RootSyscalls;
  /** Default: the calling thread hashes. */
  hasher?: FileHasher | undefined;
  /** A directory that is not there yet; its parent is. */
  directory: string;
  /** Of the Dockerfile, below the context. */
  dockerfile: string;
  signal: AbortSignal;
}

/** Files to build from. Dispose of it to remove them. */
export interface BuildContext extends ContextFiles, AsyncDisposable {
  /** Text of the Dockerfile. */
  readonly dockerfile: string;
  /** What was left out. */
  readonly rules: IgnoreRules | undefined;
}

/**
 * Reads `archive` (plain, gzip, zstd, xz or bzip2). Everything belongs to root, whoever it belonged to at the client. What
 * steps can take out of the archive itself is never unpacked.
 *
 * @throws {EngineError} `INVALID` for a broken archive, and for a Dockerfile that is missing or empty
 */
export async function openContext(
  archive: AsyncIterable<Uint8Array>,
  options: ContextOptions,
): Promise<BuildContext> {
  const { directory, signal } = options;
  await using opened = new AsyncDisposableStack();
  const spool = new Spool(`${directory}.spool`, options.hasher);
  opened.use(spool.hold());
  const tree = new SpooledTree(
    await spoolArchive(archive, spool, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'IO_ERROR') throw error;
      throw invalid(`the build context cannot be unpacked: ${message}`, { cause: error });
    }),
  );
  const read = (path: string): string | undefined => textOfTree(tree, path);
  const dockerfile = readDockerfile(read, options);
  const rules = readIgnoreRules(read, options);
  if (rules) removeIgnored(tree.root, '', rules);
  const files = opened.use(treeFiles(tree, options));
  const all = opened.move();
  return {
    root: tree,
    directory: () => files.directory(),
    dockerfile,
    rules,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Files of a tree, unpacked when somebody needs a directory of them. Dispose of it to remove that. */
export function treeFiles(
  tree: SpooledTree,
  { directory, trees, signal }: Pick<ContextOptions, 'directory' | 'trees' | 'signal'>,
): ContextFiles & AsyncDisposable {
  let unpacked: Promise<string> | undefined;
  const unpack = async (): Promise<string> => {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const whole = trees.layer([{ kind: 'tree', root: tree, path: '/', name: '' }], signal);
    await trees.extract(whole, directory, '/', { sameKind: false, signal });
    return directory;
  };
  return {
    root: tree,
    directory: () => (unpacked ??= unpack()),
    async [Symbol.asyncDispose]() {
      await unpacked?.catch(() => undefined);
      if (unpacked) await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Files that are in a directory already. */
export function directoryFiles(directory: string): ContextFiles {
  return { root: directory, directory: () => Promise.resolve(directory) };
}

/** Takes a git repository. @throws {EngineError} `INVALID` as {@link openContext}, and for what git refuses */
export async function openGitContext(
  reference: GitReference,
  options: ContextOptions,
): Promise<BuildContext> {
  const { directory, signal } = options;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  await checkoutGit(reference, directory, { signal });
  const read = reader(directory, options);
  const dockerfile = readDockerfile(read, options);
  const rules = readIgnoreRules(read, options);
  if (rules) await removeIgnoredFiles(directory, '', rules);
  const all = undo.move();
  return {
    ...directoryFiles(directory),
    dockerfile,
    rules,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/**
 * A directory of this machine, as it is: what it ignores is left out of a copy, everything else is read in place.
 *
 * @param options.directory - of the copy, if there is one; not there yet
 */
export async function openLocalContext(root: string, options: ContextOptions): Promise<BuildContext> {
  const { directory, trees, signal } = options;
  const read = reader(root, options);
  const rules = readIgnoreRules(read, options);
  const dockerfile = readDockerfile(read, options);
  if (!rules)
    return { ...directoryFiles(root), dockerfile, rules, [Symbol.asyncDispose]: () => Promise.resolve() };
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    const exclude = (path: string, isDirectory: boolean): boolean =>
      rules.ignores(path) && !(isDirectory && rules.hasExceptions);
    const tree = { kind: 'tree' as const, root, path: '/', name: '', exclude };
    await trees.extract(trees.layer([tree], signal), directory, '/', { sameKind: false, signal });
    if (rules.hasExceptions) await removeIgnoredFiles(directory, '', rules);
  } catch (error) {
    await remove();
    throw error;
  }
  return { ...directoryFiles(directory), dockerfile, rules, [Symbol.asyncDispose]: remove };
}

/** The text of a regular file, links followed inside of the context; undefined when there is none. */
type ReadText = (path: string) => string | undefined;

function reader(directory: string, { syscalls }: ContextOptions): ReadText {
  return (path) => readFromRoot(directory, path, syscalls);
}

/** Larger Dockerfiles and ignore files are nobody's. */
const MAX_TEXT_BYTES = 1024 * 1024;

/** The text of a file in a tree; undefined when it is none. */
export function textOfTree(tree: SpooledTree, path: string): string | undefined {
  let node: TreeNode;
  try {
    node = tree.find(path, true);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
    throw error;
  }
  if (node.content === undefined) return undefined;
  const { size } = node.entry;
  if (size > MAX_TEXT_BYTES) throw invalid(`${path} of the build context is larger than 1 MiB`);
  const text = Buffer.alloc(size);
  node.content.read(text, 0, size, 0);
  return text.toString('utf8');
}

function readDockerfile(read: ReadText, { dockerfile }: ContextOptions): string {
  const text =
    read(posix.join('/', dockerfile)) ??
    // as the classic builder did, for file systems that do not mind
    (dockerfile === 'Dockerfile' ? read('/dockerfile') : undefined);
  if (text === undefined) throw invalid(`Cannot locate specified Dockerfile: ${dockerfile}`);
  if (text.trim() === '') throw invalid(`the Dockerfile (${dockerfile}) cannot be empty`);
  return text;
}

/** The rules of `<Dockerfile>.dockerignore`, or of `.dockerignore`. */
function readIgnoreRules(read: ReadText, { dockerfile }: ContextOptions): IgnoreRules | undefined {
  const text = read(posix.join('/', `${dockerfile}.dockerignore`)) ?? read('/.dockerignore');
  if (text === undefined) return undefined;
  try {
    return ignoreRules(ignorePatterns(text));
  } catch (error) {
    throw invalid(`.dockerignore: ${(error as Error).message}`, { cause: error });
  }
}

/** Takes what is ignored below `path` out of a tree; directories that hold an exception stay. */
function removeIgnored({ children }: TreeNode, path: string, rules: IgnoreRules): void {
  if (children === undefined) return;
  for (const [name, node] of children) {
    const own = Buffer.from(name, 'latin1').toString('utf8');
    const child = path === '' ? own : `${path}/${own}`;
    const ignored = rules.ignores(child);
    if (node.children !== undefined && !(ignored && !rules.hasExceptions)) {
      removeIgnored(node, child, rules);
      if (ignored && node.children.size === 0) children.delete(name);
    } else if (ignored) children.delete(name);
  }
}

/** The same for files in a directory. */
async function removeIgnoredFiles(directory: string, path: string, rules: IgnoreRules): Promise<void> {
  for (const entry of await readdir(join(directory, path), { withFileTypes: true })) {
    const child = path === '' ? entry.name : `${path}/${entry.name}`;
    const ignored = rules.ignores(child);
    const whole = join(directory, child);
    if (!entry.isDirectory()) {
      if (ignored) await rm(whole, { force: true });
    } else if (ignored && !rules.hasExceptions) await rm(whole, { recursive: true, force: true });
    else {
      await removeIgnoredFiles(directory, child, rules);
      if (ignored) {
        await rmdir(whole).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOTEMPTY') throw error;
        });
      }
    }
  }
}
