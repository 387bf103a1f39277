/** What a stage is at one moment, and what building works with. */
import type { ContainerConfig, Digest, History, ImageConfig } from '@tare/image-spec';
import { randomBytes } from 'node:crypto';

import type { Containers } from '../containers/containers.ts';
import type { RootSyscalls } from '../containers/root-files.ts';
import type { Trees } from '../containers/trees.ts';
import type { JobQueue } from '../jobs/job-queue.ts';
import type { NewLayer } from '../images/create.ts';
import type { Images } from '../images/images.ts';
import type { LayerUnpacker, Puller } from '../images/pull.ts';
import type { BuildCache } from './cache.ts';
import type { LayerMaker } from './commit.ts';
import type { MadeLayer } from './image-cache.ts';
import type { LintWarning } from './dockerfile/lint.ts';

/** Everything the builder is made of. */
export interface BuildParts {
  images: Images;
  puller: Pick<Puller, 'pull'>;
  unpacker: LayerUnpacker;
  layers: LayerMaker;
  containers: Pick<Containers, 'create' | 'start' | 'wait' | 'attach' | 'remove' | 'find' | 'holdStill'>;
  trees: Trees;
  syscalls: RootSyscalls;
  cache: BuildCache;
  jobs: JobQueue;
  /** For contexts and cache mounts; the builder's own. */
  directory: string;
}

/** A stage between two steps. Never changed: each step makes a new one. */
export interface StageState {
  config: ContainerConfig;
  /** Oldest first. */
  layers: readonly NewLayer[];
  /** ChainIDs of the layers. */
  chain: readonly Digest[];
  history: readonly History[];
  platform: Pick<ImageConfig, 'architecture' | 'os' | 'variant'>;
  author: string | undefined;
  /** Which steps made which layers, oldest first. */
  made: readonly MadeLayer[];
  /** Declared arguments that have a value; stages built on this one know them too. */
  args: ReadonlyMap<string, string>;
}

/** A step of a build, as its clients are told of it. */
export interface BuildStep {
  /** Unique in the build. */
  id: string;
  /** For people: `[builder 2/3] RUN make`. */
  name: string;
  /** The instruction as written. */
  text: string;
  /**
   * `file`: changes the file system; `config`: changes what is known of the image alone; `trigger`: an instruction that
   * the base image brought; `transfer`: something is fetched or written, which is no instruction.
   */
  kind: 'file' | 'config' | 'trigger' | 'transfer';
  /** Ids of the steps it waits for. */
  inputs: readonly string[];
}

/** What tells a client of one step. `end` is its last call. */
export interface StepOutput {
  /** A piece of what a command writes, with its line ends. */
  write(data: Uint8Array): void;
  /** Something of many that move: a layer, the files of a context. */
  progress(id: string, bytes: { current: number; total?: number | undefined; done: boolean }): void;
  /** One line about what happens, for clients without bars. */
  say(text: string): void;
  /** The result was there already. */
  cached(): void;
  /** The result, if it is a new layer. */
  made(chainId: Digest): void;
  end(error?: unknown): void;
}

/** What tells a client of the build. */
export interface BuildOutput {
  begin(step: BuildStep): StepOutput;
  /** @param lint - what of the Dockerfile it is about, if that is a rule */
  warn(text: string, lint?: LintWarning): void;
}

/** Tells of `work` as a step. */
export async function asStep<T>(
  output: BuildOutput,
  step: BuildStep,
  work: (output: StepOutput) => Promise<T>,
): Promise<T> {
  const told = output.begin(step);
  try {
    const result = await work(told);
    told.end();
    return result;
  } catch (error) {
    told.end(error);
    throw error;
  }
}

/** Files by a name of the client's: `--build-context`. */
export type NamedContext =
  | { kind: 'image'; reference: string }
  /** `open` gives a directory that stays for as long as the build. */
  | { kind: 'directory'; open(): Promise<string> };

/** What a client gives to single commands, and what is in no layer, key or log. */
export interface BuildSecrets {
  /** @returns undefined when the client has none of that name */
  secret(id: string): Promise<Uint8Array | undefined>;
  /** A socket that leads to an agent of the client's, until `signal` aborts. @returns undefined without one */
  agent(id: string, directory: string, signal: AbortSignal): Promise<string | undefined>;
}

/**
 * Runs `work` with a path that leads into the file system of a stage, to read it.
 *
 * @param chainId - undefined for an empty one
 */
export async function withStageRoot<T>(
  { images, trees }: Pick<BuildParts, 'images' | 'trees'>,
  chainId: Digest | undefined,
  work: (root: string) => Promise<T>,
): Promise<T> {
  // named like containers, so that the sweep for those finds what a crash leaves
  const key = randomBytes(32).toString('hex');
  const mounts = await images.snapshots.view(key, chainId);
  try {
    using root = trees.open(mounts);
    return await work(root.path);
  } finally {
    await images.snapshots.remove(key);
  }
}
