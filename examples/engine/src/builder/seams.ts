/**
 * What the solver asks of the program around it. The engine fills these in `in-engine/`; a program without a daemon fills
 * them on the packages alone, as `examples/build-image` does.
 */
import type { Digest, ImageConfig, Platform } from '@tare/image-spec';
import type { LayerArchive } from '@tare/layer-store';
import type { ContentStore } from '@tare/image-spec/content';
import type { Snapshotter } from '@tare/layer-store/snapshot';

import type { RootSyscalls } from '../containers/root-files.ts';
import type { Trees } from '../containers/trees.ts';
import type { NewLayer } from '../images/create.ts';
import type { LayerUnpacker } from '../images/pull.ts';
import type { RegistryAuth } from '../images/remote.ts';
import type { CacheMountRequest } from './cache-mounts.ts';
import type { StepOutput } from './output.ts';
import type { RunLimits } from './request.ts';

/** Everything the solver is made of. */
export interface SolverParts {
  layers: BuildLayers;
  bases: Bases;
  executor: Executor;
  cache: StepCache;
  /** Keeps blobs (by digest) and layers (by chainID) until the result is disposed of. */
  leases: { hold(keys: Iterable<string>): Disposable };
  trees: Trees;
  syscalls: RootSyscalls;
  /** For files and mounts of builds under way; {@link prepareBuilder} makes it. */
  directory: string;
}

/** Blobs of layers, and file systems of them: `LayerStore` of `@tare/layer-store` is one. */
export interface BuildLayers extends LayerUnpacker {
  content: ContentStore;
  snapshots: Pick<Snapshotter, 'view' | 'remove' | 'stat'>;
  /** Stores an archive of any compression that is known as a layer; compressed with gzip, unless `none` is asked for. */
  importLayer(
    archive: AsyncIterable<Uint8Array>,
    options: { compression?: 'none'; signal: AbortSignal },
  ): Promise<NewLayer>;
  /** Stores an archive as a layer, as it is, and the committed snapshot of it on `parent`. */
  commitArchive(
    archive: LayerArchive,
    parent: Digest | undefined,
    options: { compression: 'none'; signal: AbortSignal },
  ): Promise<NewLayer>;
}

/** An image to build on: its layers are unpacked, their blobs in the content store. */
export interface BaseImage {
  id: Digest;
  config: ImageConfig;
  /** Oldest first. */
  layers: readonly NewLayer[];
  /** ChainIDs of the layers. */
  chain: readonly Digest[];
}

/** How an image is looked for. */
export interface BaseOptions {
  /** Which image of several under one name. Default: what is here, or else this machine's. */
  platform: Platform | undefined;
  /** `missing`: when none of that platform is here. */
  pull: 'always' | 'missing' | 'never';
  auth(registry: string): Promise<RegistryAuth | undefined>;
  output: StepOutput;
  signal: AbortSignal;
}

/** Images by their names. */
export interface Bases {
  /** @throws {EngineError} `NOT_FOUND`, or what the registry said */
  find(reference: string, options: BaseOptions): Promise<BaseImage>;
  /** The config of one that is here; no registry is asked. */
  local(reference: string): ImageConfig | undefined;
}

/** Something that is in a command's file system while it runs, and no part of what it makes. */
export type CommandMount =
  | { type: 'bind'; source: string; target: string; readOnly: boolean }
  | { type: 'tmpfs'; target: string; sizeBytes: number | undefined };

/** A command to run. */
export interface Command {
  argv: readonly string[];
  /** All of its variables; of two with one name the later counts. */
  env: readonly string[];
  /** Variables that may be written to no disk. */
  secretEnv: readonly string[];
  user: string;
  workingDirectory: string;
  /** The file system it runs on. */
  layers: readonly NewLayer[];
  chain: readonly Digest[];
  platform: Platform;
  mounts: readonly CommandMount[];
  network: 'default' | 'none' | 'host';
  /** With all of root's powers. */
  insecure: boolean;
  /** Default: the executor's choice. */
  hostname: string | undefined;
  /** In the layer, later times of files become this one, in nanoseconds. Default: none do. */
  maxMtimeNs: bigint | undefined;
  limits: RunLimits;
  /** The instruction, for people. */
  title: string;
}

/** How a command ended. */
export interface CommandResult {
  exitCode: number;
  /** What it changed; undefined when it failed. */
  layer: NewLayer | undefined;
}

/** Runs commands on file systems. Of one that fails, or is aborted, nothing stays. */
export interface Executor {
  run(command: Command, options: { output: StepOutput; signal: AbortSignal }): Promise<CommandResult>;
}

/** Results of steps by what they were made of, and directories that commands keep. */
export interface StepCache {
  get(key: string): { layer: NewLayer; createdAt?: Date | undefined } | undefined;
  /** Counts a use. */
  use(key: string): void;
  put(key: string, layer: NewLayer, about: { description: string; createdAt: Date }): void;
  /** After a build: whatever keeps it in bounds. */
  collect(): Promise<void>;
  readonly mounts: {
    /** A path of the host for a cache mount. @param held - gets what gives it back */
    acquire(request: CacheMountRequest, held: AsyncDisposableStack): Promise<string>;
  };
}
