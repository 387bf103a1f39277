/** What the sources of COPY and ADD mean: files, wildcards, here-documents, addresses, archives. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join, posix } from 'node:path';

import { followLinks, type TreeRoot } from '../containers/trees.ts';
import { download, downloadFailure } from '../download.ts';
import type { CopyParts, CopyPlace, CopyRequest } from './copy-step.ts';
import { StepError } from './dockerfile/errors.ts';
import { isForeign } from '../foreign-compression.ts';
import { checkoutGit, parseGitReference, type GitReference } from './git.ts';
import { hasWildcards, namePattern } from './glob.ts';
import { kindOf, statIn } from './stat.ts';

/** One thing that a copy takes. */
export type CopyItem =
  | { kind: 'content'; name: string; content: Uint8Array; mode: number; mtimeNs?: bigint }
  | {
      kind: 'file' | 'directory';
      root: TreeRoot;
      /** As it was named, and where it is when links are followed. */
      path: string;
      real: string;
      /** With --parents: the directories of the source that are kept. */
      below: string;
      temporary?: string;
    };

/** Everything that the sources of a copy mean. @throws {StepError} */
export async function copyItems(
  parts: CopyParts,
  request: CopyRequest,
  place: CopyPlace,
): Promise<CopyItem[]> {
  const { instruction } = request;
  const items: CopyItem[] = [];
  for (const { name, content } of instruction.heredocs) {
    items.push({ kind: 'content', name, content: Buffer.from(content), mode: 0o644 });
  }
  for (const source of request.sources) {
    const git = instruction.keyword === 'ADD' ? parseGitReference(source) : undefined;
    if (git) {
      items.push(await checkedOut(request, git, place));
      continue;
    }
    if (instruction.keyword === 'ADD' && /^https?:\/\//.test(source)) {
      items.push(await downloaded(request, source, place));
      continue;
    }
    const found = matchSource(parts, place.source, source);
    if (found.length === 0) {
      throw new StepError(
        `${instruction.keyword} failed: file not found in build context or excluded by .dockerignore: stat ${source}: file does not exist`,
        instruction,
      );
    }
    for (const path of found) items.push(await itemAt(parts, request, place, source, path));
  }
  return items;
}

async function itemAt(
  parts: CopyParts,
  request: CopyRequest,
  place: CopyPlace,
  source: string,
  path: string,
): Promise<CopyItem> {
  const { trees } = parts;
  const real = followLinks(trees, place.source, path);
  const stat = statIn(trees.stat, place.source, real);
  const below = request.parents ? parentsOf(source, path) : '';
  const root = place.source;
  if (kindOf(stat) === 'directory') {
    // with --parents the directory itself is kept, too
    const own = request.parents ? posix.join(below, posix.basename(path)) : '';
    return { kind: 'directory', root, path: real, real, below: own };
  }
  if (stat === undefined) {
    throw new StepError(
      `${request.instruction.keyword} failed: stat ${path}: the link leads nowhere`,
      request.instruction,
    );
  }
  if (request.unpack) {
    const unpacked = await unpackArchive(parts, place, real);
    if (unpacked !== undefined) {
      return { kind: 'directory', root: unpacked, path: '/', real: '/', below: '', temporary: unpacked };
    }
  }
  return { kind: 'file', root, path, real, below };
}

/** The part of `path` before its last component that --parents keeps: after the pivot `/./`, if there is one. */
function parentsOf(source: string, path: string): string {
  const pivot = source.indexOf('/./');
  const directory = posix.dirname(path).slice(1);
  if (pivot < 0) return directory === '.' ? '' : directory;
  const before = posix.join('/', source.slice(0, pivot)).slice(1);
  return directory === before ? '' : directory.slice(before.length + 1);
}

/** What a name of the source means: itself, or all that its wildcards match, sorted. */
function matchSource({ trees }: CopyParts, root: TreeRoot, source: string): string[] {
  const path = posix.join('/', source);
  if (!hasWildcards(path))
    return statIn(trees.stat, root, path) === undefined ? [] : [path.replace(/(?<=.)\/$/, '')];
  let found = ['/'];
  for (const name of path.split('/').filter((part) => part !== '')) {
    const pattern = namePattern(name);
    found = found.flatMap((directory) => {
      if (!hasWildcards(name)) return [posix.join(directory, name)];
      return trees
        .names(root, directory)
        .filter((entry) => pattern?.test(entry) === true)
        .map((entry) => posix.join(directory, entry));
    });
  }
  return found.filter((one) => statIn(trees.stat, root, one) !== undefined).sort();
}

/** First bytes of what ADD unpacks. */
const ARCHIVE_HEAD_BYTES = 512;

/** Unpacks an archive into a directory of its own; undefined when the file is none. */
async function unpackArchive(
  { trees }: CopyParts,
  { source, scratch, signal }: CopyPlace,
  path: string,
): Promise<string | undefined> {
  const head = trees.read(source, path, ARCHIVE_HEAD_BYTES);
  const compressed =
    (head[0] === 0x1f && head[1] === 0x8b) ||
    head.subarray(0, 4).equals(Buffer.from([0x28, 0xb5, 0x2f, 0xfd])) ||
    isForeign(head);
  if (!compressed && head.toString('latin1', 257, 262) !== 'ustar') return undefined;
  const directory = join(scratch, `add-${randomBytes(8).toString('hex')}`);
  await mkdir(directory, { mode: 0o755 });
  try {
    await trees.extract(trees.stream(source, path), directory, '/', { sameKind: false, signal });
    if (compressed && (await readdir(directory)).length === 0) throw new Error('no archive');
    return directory;
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    signal.throwIfAborted();
    // a compressed file that is no archive is copied as it is
    if (compressed) return undefined;
    throw error;
  }
}

async function checkedOut(
  { checksum, instruction, keepGitDirectory }: CopyRequest,
  reference: GitReference,
  { scratch, signal }: CopyPlace,
): Promise<CopyItem> {
  const directory = join(scratch, `git-${randomBytes(8).toString('hex')}`);
  let commit: string;
  try {
    commit = await checkoutGit(reference, directory, { keepGitDirectory, signal });
  } catch (error) {
    throw new StepError(`ADD failed: ${downloadFailure(error)}`, instruction, { cause: error });
  }
  if (checksum !== undefined && !commit.startsWith(checksum)) {
    await rm(directory, { recursive: true });
    throw new StepError(
      `ADD failed: ${reference.remote} is at the commit ${commit}, not ${checksum}`,
      instruction,
    );
  }
  return { kind: 'directory', root: directory, path: '/', real: '/', below: '', temporary: directory };
}

/** What the client's secrets have for a host: a header, or a token. */
async function httpAuthorization(host: string, secrets: CopyPlace['secrets']): Promise<string | undefined> {
  const text = async (id: string): Promise<string | undefined> => {
    const data = await secrets?.secret(id);
    return data && Buffer.from(data).toString('utf8').trim();
  };
  const header = await text(`HTTP_AUTH_HEADER_${host}`);
  if (header !== undefined) return header;
  const token = await text(`HTTP_AUTH_TOKEN_${host}`);
  return token === undefined ? undefined : `Bearer ${token}`;
}

async function downloaded(request: CopyRequest, url: string, place: CopyPlace): Promise<CopyItem> {
  const { instruction, checksum } = request;
  const { signal } = place;
  const authorization = await httpAuthorization(new URL(url).host, place.secrets);
  const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
  const response = await download(url, signal, headers).catch((error: unknown) => {
    throw new StepError(`ADD failed: ${downloadFailure(error)}`, instruction, { cause: error });
  });
  const content = Buffer.from(await response.arrayBuffer());
  if (checksum !== undefined) {
    const actual = `sha256:${createHash('sha256').update(content).digest('hex')}`;
    if (actual !== checksum) {
      throw new StepError(`ADD failed: ${url} has the digest ${actual}, not ${checksum}`, instruction);
    }
  }
  const name = posix.basename(new URL(url).pathname);
  if (name === '' && request.destination.endsWith('/')) {
    throw new StepError(`cannot determine filename from url: ${url}`, instruction);
  }
  const modified = Date.parse(response.headers.get('last-modified') ?? '');
  return {
    kind: 'content',
    name,
    content,
    mode: 0o600,
    ...(Number.isNaN(modified) ? {} : { mtimeNs: BigInt(modified) * 1_000_000n }),
  };
}
