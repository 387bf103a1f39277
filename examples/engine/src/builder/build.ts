/** Builds images: stages beside each other, steps from the cache or by running them. */
import {
  chainIds,
  familiarReference,
  formatPlatform,
  isEmptyLayer,
  platformOfProcess,
  withDefaultTag,
  type ContainerConfig,
  type Digest,
  type Platform,
  type Reference,
} from '@tare/image-spec';
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { invalid } from '../errors.ts';
import { createImage, layersOf, type NewLayer } from '../images/create.ts';
import type { RegistryAuth } from '../images/remote.ts';
import type { Job } from '../jobs/job.ts';
import { formatTime, nowNs } from '../time.ts';
import { ENGINE_VERSION } from '../version.ts';
import { nameImage } from './commit.ts';
import type { BuildContext } from './context.ts';
import { copyDigest, copyParts, parseCopy } from './copy-step.ts';
import { applyToConfig, CONFIG_KEYWORDS } from './dockerfile/config-instructions.ts';
import { DockerfileError } from './dockerfile/errors.ts';
import { parseDockerfile, type Instruction } from './dockerfile/parser.ts';
import { findStage, planStages, type BuildPlan, type Stage } from './dockerfile/stages.ts';
import { FileSystems } from './file-systems.ts';
import { parseRun, runKey, runStep, type RunLimits } from './run-step.ts';
import {
  describe,
  expandHeredocs,
  platformArgs,
  PROXY_ARGS,
  StageRun,
  triggersOf,
  withHistory,
  withoutTriggers,
} from './stage-run.ts';
import { withStageRoot, type BuildOutput, type BuildParts, type StageState } from './state.ts';

/** What a client asks for. */
export interface BuildRequest {
  context: BuildContext;
  /** Names for the result. */
  names: readonly Reference[];
  target: string;
  buildArgs: Readonly<Record<string, string | null>>;
  labels: Readonly<Record<string, string>>;
  platform: Platform | undefined;
  noCache: boolean;
  /** Ask registries for newer base images. */
  pull: boolean;
  limits: RunLimits;
  /** Credentials by registry. */
  auth: Readonly<Record<string, RegistryAuth>>;
}

/** Builds. @returns the image's id @throws {DockerfileError} @throws {RunFailed} @throws {EngineError} */
export async function buildImage(
  parts: BuildParts,
  request: BuildRequest,
  output: BuildOutput,
  job: Job,
): Promise<Digest> {
  const build = new Build(parts, request, output, job);
  try {
    return await build.run();
  } finally {
    await build.end();
  }
}

class Build {
  readonly #parts: BuildParts;
  readonly #request: BuildRequest;
  readonly #output: BuildOutput;
  readonly #job: Job;
  readonly #plan: BuildPlan;
  readonly #escape: string;
  readonly #platformArgs: Readonly<Record<string, string>>;
  readonly #states = new Map<number, Promise<StageState>>();
  readonly #fileSystems: FileSystems;
  readonly #usedArgs = new Set<string>();
  readonly #platform: Platform;
  readonly #epochNs: bigint | undefined;
  #step = 0;
  readonly #steps: number;

  constructor(parts: BuildParts, request: BuildRequest, output: BuildOutput, job: Job) {
    this.#parts = parts;
    this.#request = request;
    this.#output = output;
    this.#job = job;
    const file = parseDockerfile(request.context.dockerfile);
    if (
      file.syntax !== undefined &&
      !/^docker(?:\.io\/docker)?\/dockerfile(?:-upstream)?(?::|@|$)/.test(file.syntax)
    ) {
      throw invalid(`the syntax ${file.syntax} is not built in; docker/dockerfile is`);
    }
    this.#escape = file.escape;
    const own = platformOfProcess(process);
    this.#platform = request.platform ?? own;
    this.#platformArgs = platformArgs(this.#platform, own);
    this.#fileSystems = new FileSystems(parts, {
      buildId: job.id,
      platform: this.#platform,
      pull: request.pull,
      auth: request.auth,
      output,
      signal: job.signal,
    });
    this.#plan = planStages(file, {
      buildArgs: request.buildArgs,
      platformArgs: this.#platformArgs,
      target: request.target,
    });
    this.#steps = this.#plan.needed.reduce(
      (sum, index) => sum + 1 + this.#plan.stages[index]!.instructions.length,
      0,
    );
    const epoch = request.buildArgs['SOURCE_DATE_EPOCH'];
    this.#epochNs = epoch && /^\d{1,12}$/.test(epoch) ? BigInt(epoch) * 1_000_000_000n : undefined;
  }

  async run(): Promise<Digest> {
    // all that the target needs begins at once; each waits for what it needs itself
    const states = this.#plan.needed.map((index) => this.#stage(index));
    const failed = await Promise.allSettled(states).then((results) =>
      results.find((result) => result.status === 'rejected'),
    );
    if (failed) throw failed.reason;
    const state = await this.#stage(this.#plan.target);
    const id = await this.#export(state);
    this.#warnOfUnusedArgs();
    this.#output.write(`Successfully built ${id.slice('sha256:'.length, 'sha256:'.length + 12)}\n`);
    for (const name of this.#request.names) {
      nameImage(this.#parts.images, id, name);
      this.#output.write(`Successfully tagged ${familiarReference(withDefaultTag(name))}\n`);
    }
    return id;
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.#states.values());
    await this.#fileSystems[Symbol.asyncDispose]();
  }

  #stage(index: number): Promise<StageState> {
    let state = this.#states.get(index);
    if (!state) {
      state = this.#runStage(this.#plan.stages[index]!);
      this.#states.set(index, state);
    }
    return state;
  }

  async #runStage(stage: Stage): Promise<StageState> {
    const base = await this.#base(stage);
    const run = new StageRun(this.#escape, this.#plan, this.#request.buildArgs, this.#platformArgs);
    let state: StageState = { ...base, config: withoutTriggers(base.config) };
    for (const instruction of triggersOf(base))
      state = await this.#apply(stage, run, state, instruction, 'trigger');
    for (const instruction of stage.instructions)
      state = await this.#apply(stage, run, state, instruction, 'step');
    for (const name of run.used) this.#usedArgs.add(name);
    return state;
  }

  async #base({ base, from }: Stage): Promise<StageState> {
    if (base.kind === 'stage') {
      const state = await this.#stage(base.index);
      this.#announce(from);
      return state;
    }
    this.#announce(from);
    if (base.kind === 'scratch') {
      const { architecture, os, variant } = this.#platform;
      const platform = { architecture, os, ...(variant === undefined ? {} : { variant }) };
      return { config: {}, layers: [], chain: [], history: [], platform, author: undefined, args: new Map() };
    }
    const image = await this.#fileSystems.image(base.reference, base.platform, from);
    const { architecture, os, variant, history = [], author, config = {} } = image.config;
    this.#output.write(` ---> ${image.id.slice('sha256:'.length, 'sha256:'.length + 12)}\n`);
    return {
      config: { ...config },
      layers: await layersOf(this.#parts.images, image, this.#job.signal),
      chain: image.chain,
      history,
      platform: { architecture, os, ...(variant === undefined ? {} : { variant }) },
      author,
      args: new Map(),
    };
  }

  async #apply(
    stage: Stage,
    run: StageRun,
    state: StageState,
    instruction: Instruction,
    kind: 'step' | 'trigger',
  ): Promise<StageState> {
    this.#job.signal.throwIfAborted();
    if (kind === 'step') this.#announce(instruction);
    else this.#output.write(`Trigger: ${instruction.keyword} ${instruction.args}\n`);
    const { keyword } = instruction;
    switch (keyword) {
      case 'ARG':
        return withHistory(run.declare(instruction, state), instruction, this.#now());
      case 'MAINTAINER':
        return withHistory({ ...state, author: instruction.args }, instruction, this.#now());
      case 'COPY':
      case 'ADD':
        return this.#copy(stage, run, state, instruction);
      case 'RUN':
        return this.#run(stage, run, state, instruction);
      default: {
        if (!CONFIG_KEYWORDS.has(keyword))
          throw new DockerfileError(`${keyword} cannot stand here`, instruction);
        const config: ContainerConfig = { ...state.config };
        applyToConfig(config, instruction, run.words(state), run.marks);
        const next = withHistory({ ...state, config }, instruction, this.#now());
        return keyword === 'WORKDIR' ? this.#makeWorkingDirectory(next, instruction) : next;
      }
    }
  }

  async #makeWorkingDirectory(state: StageState, instruction: Instruction): Promise<StageState> {
    const path = state.config.WorkingDir ?? '/';
    const { trees } = this.#parts;
    const mtimeNs = this.#epochNs ?? nowNs();
    const missing = await withStageRoot(this.#parts, state.chain.at(-1), async (root) => {
      const names = path.split('/').filter((name) => name !== '');
      return names
        .map((_, i) => names.slice(0, i + 1).join('/'))
        .filter((name) => {
          try {
            trees.stat(root, `/${name}/.`);
            return false;
          } catch {
            return true;
          }
        });
    });
    if (missing.length === 0) return state;
    const directories = missing.map((name) => ({ kind: 'directory' as const, name, mtimeNs }));
    const key = this.#key(state, { directories: missing });
    const layer = await this.#cached(key, describe(instruction), () =>
      this.#parts.layers.importLayer(trees.layer(directories, this.#job.signal), {
        signal: this.#job.signal,
      }),
    );
    return this.#withLayer({ ...state, history: state.history.slice(0, -1) }, layer, instruction);
  }

  async #copy(stage: Stage, run: StageRun, state: StageState, instruction: Instruction): Promise<StageState> {
    const words = run.words(state);
    const request = parseCopy(expandHeredocs(instruction, words), words);
    const { signal } = this.#job;
    const scratch = join(this.#parts.directory, 'contexts');
    const copy = async (source: string): Promise<StageState> =>
      withStageRoot(this.#parts, state.chain.at(-1), async (target) => {
        const { parts, temporary } = await copyParts(this.#parts, request, {
          source,
          target,
          workingDirectory: state.config.WorkingDir ?? '/',
          nowNs: this.#epochNs ?? nowNs(),
          scratch,
          signal,
        });
        try {
          const key = this.#key(state, { files: await copyDigest(this.#parts, parts, signal) });
          const clamped = parts.map((part) =>
            this.#epochNs === undefined ? part : { ...part, mtimeNs: this.#epochNs },
          );
          const layer = await this.#cached(key, describe(instruction), () =>
            this.#parts.layers.importLayer(this.#parts.trees.layer(clamped, signal), { signal }),
          );
          return await this.#withLayer(state, layer, instruction);
        } finally {
          for (const path of temporary) await rm(path, { recursive: true, force: true });
        }
      });
    if (request.from === undefined) return copy(this.#request.context.directory);
    const chainId = await this.#fileSystem(stage, request.from, instruction);
    return withStageRoot(this.#parts, chainId, copy);
  }

  async #run(stage: Stage, run: StageRun, state: StageState, instruction: Instruction): Promise<StageState> {
    const request = parseRun(instruction, state, run.env(state), run.words(state));
    const sources: (Digest | string | undefined)[] = [];
    for (const { type, from } of request.mounts) {
      if (type === 'bind' && from !== undefined)
        sources.push(await this.#fileSystem(stage, from, instruction));
      else if (type === 'bind') sources.push(await this.#contextDigest());
    }
    const key = this.#key(state, { run: runKey(request, state), sources });
    const layer = await this.#cached(key, describe(instruction), () =>
      this.#parts.jobs.run(
        'build.run',
        (job) =>
          runStep(this.#parts, request, state, {
            limits: this.#request.limits,
            job,
            output: this.#output,
            sourceOf: async (from) =>
              from === undefined
                ? this.#request.context.directory
                : this.#fileSystems.mount(await this.#fileSystem(stage, from, instruction)),
          }),
        { parent: this.#job, subject: describe(instruction) },
      ),
    );
    return this.#withLayer(state, layer, instruction);
  }

  /** ChainID of what a `from` names: an earlier stage, or an image. */
  async #fileSystem(stage: Stage, from: string, instruction: Instruction): Promise<Digest | undefined> {
    const earlier = findStage(this.#plan.stages, from, stage.index);
    if (earlier) return (await this.#stage(earlier.index)).chain.at(-1);
    if (/^\d+$/.test(from))
      throw new DockerfileError(`invalid from flag value ${from}: no such stage`, instruction);
    return (await this.#fileSystems.image(from, undefined, instruction)).chainId;
  }

  async #contextDigest(): Promise<string> {
    const whole = [{ kind: 'tree' as const, root: this.#request.context.directory, path: '/', name: '' }];
    return copyDigest(this.#parts, whole, this.#job.signal);
  }

  #key(state: StageState, step: unknown): string {
    const text = JSON.stringify([state.chain.at(-1) ?? 'scratch', formatPlatform(this.#platform), step]);
    return `sha256:${createHash('sha256').update(text).digest('hex')}`;
  }

  async #cached(key: string, description: string, work: () => Promise<NewLayer>): Promise<NewLayer> {
    const { cache, images } = this.#parts;
    const known = this.#request.noCache ? undefined : cache.get(key);
    if (known && (await images.content.has(known.layer.descriptor))) {
      cache.use(key, new Date());
      this.#output.write(' ---> Using cache\n');
      return known.layer;
    }
    const { descriptor, diffId } = await work();
    cache.put(key, { descriptor, diffId }, description, new Date());
    return { descriptor, diffId };
  }

  /** The stage with a layer on top, unpacked: the next step may need it. */
  async #withLayer(state: StageState, layer: NewLayer, instruction: Instruction): Promise<StageState> {
    const { images, unpacker } = this.#parts;
    if (isEmptyLayer(layer.diffId)) return withHistory(state, instruction, this.#now());
    const layers = [...state.layers, layer];
    const chain = await chainIds(layers.map(({ diffId }) => diffId));
    const chainId = chain.at(-1)!;
    this.#fileSystems.hold([layer.descriptor.digest, chainId]);
    const { signal } = this.#job;
    if (!(await images.snapshots.stat(chainId, { signal }))) {
      const onProgress = (): void => undefined;
      await unpacker.unpackLayer({ ...layer, chainId }, chain.at(-2), { signal, onProgress });
    }
    this.#output.write(` ---> ${chainId.slice('sha256:'.length, 'sha256:'.length + 12)}\n`);
    return withHistory({ ...state, layers, chain }, instruction, this.#now(), false);
  }

  async #export(state: StageState): Promise<Digest> {
    const { labels } = this.#request;
    const config: ContainerConfig = { ...state.config };
    if (Object.keys(labels).length > 0) config.Labels = { ...config.Labels, ...labels };
    const { images, unpacker } = this.#parts;
    const id = await createImage(
      images,
      unpacker,
      {
        layers: state.layers,
        config: {
          created: this.#now(),
          ...(state.author === undefined ? {} : { author: state.author }),
          ...state.platform,
          config,
          history: [...state.history],
          docker_version: ENGINE_VERSION,
        },
      },
      this.#job.signal,
    );
    images.emit('create', id, id, config.Labels ?? {});
    return id;
  }

  #now(): string {
    return formatTime(this.#epochNs ?? nowNs());
  }

  #announce(instruction: Instruction): void {
    this.#step += 1;
    this.#output.write(`Step ${this.#step}/${this.#steps} : ${describe(instruction)}\n`);
  }

  #warnOfUnusedArgs(): void {
    const unused = Object.keys(this.#request.buildArgs).filter(
      (name) =>
        !this.#usedArgs.has(name) &&
        !PROXY_ARGS.has(name) &&
        !this.#plan.globalArgs.has(name) &&
        !/^(BUILDKIT_|SOURCE_DATE_EPOCH$)/.test(name),
    );
    if (unused.length > 0) {
      this.#output.write(`[Warning] One or more build-args [${unused.join(' ')}] were not consumed\n`);
    }
  }
}
