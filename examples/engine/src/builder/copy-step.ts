/** COPY and ADD: files of a context, a stage or an image become a layer. */
import { createHash } from 'node:crypto';
import { join, posix } from 'node:path';

import { readFromRoot } from '../containers/root-files.ts';
import { followLinks, type FileTree, type TreePart, type TreeRoot } from '../containers/trees.ts';
import { resolveUser } from '../containers/user.ts';
import { EngineError } from '../errors.ts';
import { copyItems } from './copy-sources.ts';
import { expandIn, type WordContext } from './dockerfile/config-instructions.ts';
import { DockerfileError, StepError } from './dockerfile/errors.ts';
import { parseModeChange, type ModeChange } from './dockerfile/mode.ts';
import type { Instruction } from './dockerfile/parser.ts';
import { splitWords } from './dockerfile/words.ts';
import { ignoreRules } from '../ignore-file.ts';
import { kindOf, statIn } from './stat.ts';
import type { BuildSecrets } from './request.ts';
import type { SolverParts } from './seams.ts';

/** What copying works with. */
export type CopyParts = Pick<SolverParts, 'trees' | 'syscalls'>;

/** A COPY or ADD with its words expanded. */
export interface CopyRequest {
  instruction: Instruction;
  sources: readonly string[];
  destination: string;
  /** A stage or image to copy from; undefined for the context. */
  from: string | undefined;
  chown: string | undefined;
  chmod: ModeChange | undefined;
  link: boolean;
  parents: boolean;
  exclude: readonly string[];
  /** Of ADD. */
  checksum: string | undefined;
  /** Archives are unpacked. */
  unpack: boolean;
  /** Of repositories. */
  keepGitDirectory: boolean;
}

const COPY_FLAGS = new Set(['from', 'chown', 'chmod', 'link', 'parents', 'exclude']);
const ADD_FLAGS = new Set(['chown', 'chmod', 'link', 'exclude', 'checksum', 'unpack', 'keep-git-dir']);

/** Reads the instruction. @throws {DockerfileError} */
export function parseCopy(instruction: Instruction, words: WordContext): CopyRequest {
  const { keyword } = instruction;
  const flags = new Map<string, string[]>();
  for (const { name, value } of instruction.flags) {
    if (!(keyword === 'ADD' ? ADD_FLAGS : COPY_FLAGS).has(name)) {
      throw new DockerfileError(`unknown flag: --${name}`, instruction);
    }
    const expanded = value === undefined ? 'true' : expandIn(instruction, value, words);
    flags.set(name, [...(flags.get(name) ?? []), expanded]);
  }
  const flag = (name: string): string | undefined => flags.get(name)?.at(-1);
  const given = (instruction.json ?? splitWords(instruction.args, words.escape)).map((word) =>
    expandIn(instruction, word, words),
  );
  const destination = given.pop();
  const sources = given.filter((source) => !source.startsWith('<<'));
  if (destination === undefined || sources.length + instruction.heredocs.length === 0) {
    throw new DockerfileError(
      `${keyword} requires at least two arguments, but only ${given.length + (destination === undefined ? 0 : 1)} were provided: source and destination`,
      instruction,
    );
  }
  return {
    instruction,
    sources,
    destination,
    from: flag('from'),
    chown: flag('chown'),
    chmod: parseMode(instruction, flag('chmod')),
    link: flag('link') === 'true',
    parents: flag('parents') === 'true',
    exclude: flags.get('exclude') ?? [],
    checksum: flag('checksum'),
    keepGitDirectory: flag('keep-git-dir') === 'true',
    unpack: keyword === 'ADD' && flag('unpack') !== 'false',
  };
}

function parseMode(instruction: Instruction, text: string | undefined): ModeChange | undefined {
  if (text === undefined) return undefined;
  try {
    return parseModeChange(text);
  } catch (error) {
    throw new DockerfileError(
      `invalid chmod parameter: ${JSON.stringify(text)}: it should be octal, between 0 and 07777, or symbolic, like u=rwX,go=rX`,
      instruction,
      { cause: error },
    );
  }
}

/** Where files come from and go to. */
export interface CopyPlace {
  /** Leads into the source. */
  source: TreeRoot;
  /** Leads into the file system they are copied to. */
  target: string;
  workingDirectory: string;
  /** Time of what is made here, in nanoseconds. */
  nowNs: bigint;
  /** The context's own directory is where archives of ADD are unpacked beside. */
  scratch: string;
  /** Has what addresses and repositories may want. */
  secrets: BuildSecrets | undefined;
  signal: AbortSignal;
}

/** The parts of the layer that a copy makes, and what to remove after it was read. */
export async function copyParts(
  parts: CopyParts,
  request: CopyRequest,
  place: CopyPlace,
): Promise<{ parts: TreePart[]; temporary: string[] }> {
  const { trees } = parts;
  const { instruction } = request;
  const owner = copyOwner(parts, request, place);
  const raw = posix.resolve('/', place.workingDirectory, request.destination);
  const destination = request.link ? raw : followLinks(trees, place.target, raw);
  const items = await copyItems(parts, request, place);
  const isDirectory =
    /(?:^|\/)\.?$/.test(request.destination) ||
    items.length > 1 ||
    (!request.link && kindOf(statIn(trees.stat, place.target, destination)) === 'directory');
  if (items.length > 1 && !/(?:^|\/)\.?$/.test(request.destination) && request.sources.length > 1) {
    throw new DockerfileError(
      `When using ${instruction.keyword} with more than one source file, the destination must be a directory and end with a /`,
      instruction,
    );
  }
  const made = new Set<string>();
  const result: TreePart[] = [];
  /** Directories on the way that are not there yet. */
  const makeParents = (path: string): void => {
    const names = path.split('/').filter((name) => name !== '');
    for (let depth = 1; depth <= names.length; depth += 1) {
      const name = names.slice(0, depth).join('/');
      if (made.has(name)) continue;
      made.add(name);
      const there = !request.link && kindOf(statIn(trees.stat, place.target, `/${name}/.`)) === 'directory';
      if (!there) {
        result.push({
          kind: 'directory',
          name,
          ...(owner ? { owner } : {}),
          mode: undefined,
          mtimeNs: place.nowNs,
        });
      }
    }
  };
  const temporary: string[] = [];
  for (const item of items) {
    if (item.kind === 'content') {
      const name = join(isDirectory ? posix.join(destination, item.name) : destination).slice(1);
      makeParents(posix.dirname(`/${name}`));
      result.push({
        kind: 'file',
        name,
        content: item.content,
        mode: request.chmod?.(item.mode, false) ?? item.mode,
        mtimeNs: item.mtimeNs ?? place.nowNs,
        ...(owner ? { owner } : {}),
      });
      continue;
    }
    const exclude = excluder(request.exclude, destination);
    const base = item.below === '' ? destination : posix.join(destination, item.below);
    if (item.kind === 'directory') {
      makeParents(base);
      // what was in an archive keeps the owners it had there
      const kept = item.temporary !== undefined && request.chown === undefined;
      result.push({
        kind: 'tree',
        root: item.root,
        path: item.path,
        name: base.slice(1),
        modeOf: request.chmod,
        ...(owner && !kept ? { owner } : {}),
        exclude,
      });
      if (item.temporary !== undefined) temporary.push(item.temporary);
    } else {
      const whole = isDirectory || item.below !== '' ? posix.join(base, posix.basename(item.path)) : base;
      makeParents(posix.dirname(whole));
      result.push({
        kind: 'tree',
        root: item.root,
        path: item.real,
        name: whole.slice(1),
        modeOf: request.chmod,
        ...(owner ? { owner } : {}),
      });
    }
  }
  return { parts: result, temporary };
}

/** Digest of what a copy would write, times left out: what its cache goes by. */
export async function copyDigest(
  { trees }: Pick<SolverParts, 'trees'>,
  parts: readonly TreePart[],
  signal: AbortSignal,
): Promise<string> {
  const known = knownDigest(parts);
  const digest = known?.get();
  if (digest !== undefined) return digest;
  const hash = createHash('sha256');
  for await (const piece of trees.summary(parts, signal)) hash.update(piece);
  const made = hash.digest('hex');
  known?.set(made);
  return made;
}

/** Digests of trees that never change, by what is copied of them: the same one is built from again and again. */
const DIGESTS = new WeakMap<FileTree, Map<string, string>>();

/** Where the digest of parts is kept; nowhere when they are more than one tree, as it is, and directories on the way. */
function knownDigest(
  parts: readonly TreePart[],
): { get(): string | undefined; set(digest: string): void } | undefined {
  let root: FileTree | undefined;
  const shown: unknown[] = [];
  for (const part of parts) {
    const { kind, name, owner } = part;
    if (kind === 'file') return undefined;
    if (kind === 'directory') shown.push([name, owner, part.mode]);
    else {
      const { root: own, path, modeOf, exclude } = part;
      if (typeof own === 'string' || modeOf || exclude || (root !== undefined && root !== own))
        return undefined;
      root = own;
      shown.push([name, owner, path]);
    }
  }
  if (root === undefined) return undefined;
  const digests = DIGESTS.get(root) ?? new Map<string, string>();
  DIGESTS.set(root, digests);
  const key = JSON.stringify(shown);
  return { get: () => digests.get(key), set: (digest) => void digests.set(key, digest) };
}

function copyOwner(
  parts: CopyParts,
  { chown, from, instruction }: CopyRequest,
  { target }: CopyPlace,
): Owner | undefined {
  if (chown !== undefined) return ownerNamed(parts, chown, target, instruction);
  // what comes from another file system keeps its owners, what comes from a client has none that mean anything here
  return from === undefined ? { uid: 0, gid: 0 } : undefined;
}

/** Whom a file belongs to. */
export interface Owner {
  uid: number;
  gid: number;
}

/**
 * `user[:group]`, names looked up in a file system. A number alone is also the group's.
 *
 * @param root - leads into the file system
 * @throws {StepError} for a name that it does not have
 */
export function ownerNamed(
  { syscalls }: Pick<CopyParts, 'syscalls'>,
  text: string,
  root: string,
  instruction: Instruction,
): Owner {
  const read = (path: string): string | undefined => readFromRoot(root, path, syscalls);
  try {
    const user = resolveUser(text, [], { passwd: read('/etc/passwd'), group: read('/etc/group') });
    return { uid: user.uid, gid: /^\d+$/.test(text) ? user.uid : user.gid };
  } catch (error) {
    if (error instanceof EngineError) throw new StepError(error.message, instruction, { cause: error });
    throw error;
  }
}

/** Patterns of --exclude are relative to the source. */
function excluder(patterns: readonly string[], destination: string): ((path: string) => boolean) | undefined {
  if (patterns.length === 0) return undefined;
  const rules = ignoreRules(patterns);
  const prefix = destination.slice(1);
  return (path) => {
    const relative = prefix === '' ? path : path.slice(prefix.length + 1);
    return relative !== '' && rules.ignores(relative);
  };
}
