/** Files that a build takes from its client, or from addresses that the client names. */
import { Code, ConnectError } from '@connectrpc/connect';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join, posix } from 'node:path';

import type { ContextFiles, Entitlement } from '../builder/request.ts';
import { directoryFiles, textOfTree, treeFiles } from '../builder/context.ts';
import { checkoutGit, parseGitReference } from '../builder/git.ts';
import type { BuildParts } from '../builder/in-engine/parts.ts';
import { asStep, transfer, type BuildOutput } from '../builder/output.ts';
import { spoolArchive } from '../builder/spool-archive.ts';
import { Spool } from '../builder/spool.ts';
import { SpooledTree } from '../builder/spooled-tree.ts';
import { download } from '../download.ts';
import { ignorePatterns } from '../ignore-file.ts';
import { syncFiles, type FileSyncOptions } from './file-sync.ts';
import { Upload } from './gen/upload_pb.ts';
import type { Session } from './sessions.ts';
import { Outbox } from './wire/outbox.ts';

/** What the frontend works with. */
export interface FrontendPlace {
  parts: BuildParts;
  session: Session;
  output: BuildOutput;
  signal: AbortSignal;
  /** Gets what removes the files that were taken from the client. */
  held: AsyncDisposableStack;
  /** What the client allows. */
  entitlements: readonly Entitlement[];
}

/** What the files of a directory are kept by. @param place - the client's name for where it builds */
export function keptKey(place: string, directory: string): string {
  return JSON.stringify([place, directory]);
}

/** Directories of the client's, each taken once. */
export class ClientFiles {
  readonly #place: FrontendPlace;
  readonly #whole = new Map<string, Promise<ContextFiles>>();
  readonly #ignored = new Map<string, Promise<string[]>>();

  constructor(place: FrontendPlace) {
    this.#place = place;
  }

  /** A directory without what it ignores. @param ignore - in place of its `.dockerignore` */
  whole(name: string, title: string, ignore?: string): Promise<ContextFiles> {
    let taken = this.#whole.get(name);
    if (!taken) {
      taken = this.#takeWhole(name, title, ignore);
      this.#whole.set(name, taken);
    }
    return taken;
  }

  /** What the client still has as it was is not sent again. */
  async #takeWhole(name: string, title: string, ignore: string | undefined): Promise<ContextFiles> {
    const { parts, session, signal, held } = this.#place;
    const { files } = parts.cache;
    const key = session.sharedKey === '' ? undefined : keptKey(session.sharedKey, name);
    const before = key === undefined ? undefined : files.get(key);
    const spool = before?.spool ?? newSpool(parts);
    held.use(spool.hold());
    const exclude = await this.ignored(name, ignore);
    const tree = await this.take(name, title, { exclude, spool, before: before?.tree });
    if (key !== undefined) files.keep(key, tree, spool);
    return held.use(treeFiles(tree, { directory: newDirectory(parts), trees: parts.trees, signal }));
  }

  /** What a directory ignores. @param ignore - in place of its `.dockerignore` */
  ignored(name: string, ignore?: string): Promise<string[]> {
    let patterns = this.#ignored.get(name);
    if (!patterns) {
      patterns = ignore === undefined ? this.#takeIgnored(name) : Promise.resolve(ignorePatterns(ignore));
      this.#ignored.set(name, patterns);
    }
    return patterns;
  }

  async #takeIgnored(name: string): Promise<string[]> {
    const own = await this.some(name, 'load .dockerignore', ['.dockerignore']);
    const text = textOf(own, '.dockerignore');
    return text === undefined ? [] : ignorePatterns(text);
  }

  /** Some files of a directory. */
  some(name: string, title: string, include: readonly string[]): Promise<SpooledTree> {
    const { parts, held } = this.#place;
    const spool = newSpool(parts);
    held.use(spool.hold());
    return this.take(name, title, { include, spool });
  }

  take(
    name: string,
    title: string,
    what: Omit<FileSyncOptions, 'name' | 'signal' | 'onProgress'>,
  ): Promise<SpooledTree> {
    const { session, output, signal } = this.#place;
    return asStep(output, transfer(`take ${title} ${name}`, `[internal] ${title}`), async (told) => {
      let bytes = 0;
      const tree = await syncFiles(session, {
        name,
        ...what,
        signal,
        onProgress: (current) => {
          bytes = current;
          told.progress(`transferring ${name}:`, { current, done: false });
        },
      });
      told.progress(`transferring ${name}:`, { current: bytes, done: true });
      return tree;
    });
  }
}

/** Files of an address: an archive, or a repository. */
export async function unpackRemote(url: string, place: FrontendPlace): Promise<ContextFiles> {
  const { parts, signal, held } = place;
  const directory = newDirectory(parts);
  const git = parseGitReference(url);
  if (git) {
    held.defer(() => rm(directory, { recursive: true, force: true }));
    await checkoutGit(git, directory, { signal });
    return directoryFiles(directory);
  }
  const spool = newSpool(parts);
  held.use(spool.hold());
  const tree = new SpooledTree(await spoolArchive(await remoteContext(url, place), spool, signal));
  return held.use(treeFiles(tree, { directory, trees: parts.trees, signal }));
}

/** An archive: of the client's standard input, or from an address. */
export async function remoteContext(
  url: string,
  { session, signal }: FrontendPlace,
): Promise<AsyncIterable<Uint8Array>> {
  const uploaded = /^http:\/\/buildkit-session(\/.*)$/.exec(url)?.[1];
  if (uploaded !== undefined) {
    const nothing = new Outbox<never>();
    nothing.end();
    const pieces = session.client(Upload).pull(nothing, { headers: { urlpath: uploaded }, signal });
    return (async function* data() {
      for await (const piece of pieces) yield piece.data;
    })();
  }
  if (!/^https?:\/\//.test(url)) {
    throw refused(`${url} cannot be built from: addresses of archives and of git repositories can`);
  }
  return (await download(url, signal)).body;
}

/** A path for files of a build. */
export function newDirectory({ directory }: BuildParts): string {
  return join(directory, 'contexts', randomBytes(16).toString('hex'));
}

function newSpool(parts: BuildParts): Spool {
  return new Spool(`${newDirectory(parts)}.spool`, parts.hasher);
}

/** The text of a file; undefined when there is none, or it is no file. */
export function textOf(tree: SpooledTree, path: string): string | undefined {
  return textOfTree(tree, posix.join('/', path));
}

/** What a client asks for and does not get. */
export function refused(message: string, code = Code.InvalidArgument): ConnectError {
  return new ConnectError(message, code);
}
