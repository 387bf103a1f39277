/** What a build is asked for, before anything is opened for it: the first look at a build loads no more than this. */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Cli } from '../cli.ts';
import { UsageError } from '../errors.ts';
import type { ProgressMode } from '../progress.ts';
import type { CacheEntry, Output } from './outputs.ts';
import type { Offer } from './services.ts';

/** What is built from. */
export type BuildSource =
  | { kind: 'directory'; path: string }
  | { kind: 'address'; url: string }
  /** Of a context. */
  | { kind: 'archive'; data: Uint8Array }
  /** A Dockerfile needs no files. */
  | { kind: 'nothing' };

/** What is built. */
export interface BuildOptions {
  source: BuildSource;
  /** Path of the Dockerfile; empty for that of the context. */
  file: string;
  /** A Dockerfile that is in no file. */
  dockerfile: Uint8Array | undefined;
  names: readonly string[];
  /** Options of the frontend that the flags are already in the form of. */
  frontend: Readonly<Record<string, string>>;
  contexts: ReadonlyMap<string, string>;
  secrets: Offer['secrets'];
  agents: Offer['agents'];
  output: Output | undefined;
  cacheFrom: readonly CacheEntry[];
  cacheTo: readonly CacheEntry[];
  entitlements: readonly string[];
  progress: ProgressMode;
}

/** The same for each build in one directory of this machine. */
export function placeKey(root: string | undefined): string {
  if (root === undefined) return '';
  return createHash('sha256')
    .update(JSON.stringify([hostname(), root]))
    .digest('hex');
}

/** @throws {UsageError} for what `--secret` cannot be */
export function parseSecret(
  fields: ReadonlyMap<string, string>,
  cli: Pick<Cli, 'environment' | 'workingDirectory'>,
): [string, { file: string } | { value: string }] {
  const id = fields.get('id') ?? '';
  if (id === '') throw new UsageError('a secret needs an id: --secret id=name[,src=file][,env=VARIABLE]');
  const type = fields.get('type');
  const file = fields.get('src') ?? fields.get('source');
  const variable = fields.get('env') ?? (type === 'env' ? (file ?? id) : undefined);
  if (variable !== undefined) return [id, { value: cli.environment[variable] ?? '' }];
  if (file !== undefined) return [id, { file: resolve(cli.workingDirectory, file) }];
  const own = cli.environment[id];
  return [id, own === undefined ? { file: resolve(cli.workingDirectory, id) } : { value: own }];
}

/** `default`, `id=path`: the agent of the environment, or the socket at a path. @throws {UsageError} */
export function parseAgent(
  text: string,
  cli: Pick<Cli, 'environment' | 'workingDirectory'>,
): [string, string] {
  const at = text.indexOf('=');
  const id = at < 0 ? text : text.slice(0, at);
  if (at >= 0) return [id, resolve(cli.workingDirectory, text.slice(at + 1))];
  const own = cli.environment['SSH_AUTH_SOCK'];
  if (!own) throw new UsageError(`--ssh ${text}: there is no agent: SSH_AUTH_SOCK is not set`);
  return [id, own];
}
