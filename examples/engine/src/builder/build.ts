/** Builds images: stages beside each other, steps from the cache or by running them. */
import {
  chainIds,
  formatPlatform,
  isEmptyLayer,
  parsePlatform,
  type ContainerConfig,
  type Digest,
  type Platform,
  type Reference,
} from '@tare/image-spec';
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { createImage, layersOf, type NewLayer } from '../images/create.ts';
import type { RegistryAuth } from '../images/remote.ts';
import type { Job } from '../jobs/job.ts';
import { formatTime, nowNs } from '../time.ts';
import { ENGINE_VERSION } from '../version.ts';
import {
  lintBuild,
  planBuild,
  platformMismatch,
  requireClean,
  shortWarning,
  type PlannedBuild,
} from './checks.ts';
import { nameImage } from './commit.ts';
import { copyDigest, copyParts, parseCopy, type CopyRequest } from './copy-step.ts';
import { applyToConfig, CONFIG_KEYWORDS } from './dockerfile/config-instructions.ts';
import { DockerfileError, type Place } from './dockerfile/errors.ts';
import { lintRule } from './dockerfile/lint-rules.ts';
import type { LintWarning } from './dockerfile/lint.ts';
import type { Instruction } from './dockerfile/parser.ts';
import { findStage, type BuildPlan, type Stage } from './dockerfile/stages.ts';
import { FileSystems } from './file-systems.ts';
import { cacheOfImages, withSteps } from './image-cache.ts';
import { parseRun, runKey, runStep, type RunLimits } from './run-step.ts';
import {
  describe,
  expandHeredocs,
  PROXY_ARGS,
  StageRun,
  stepOf,
  triggersOf,
  withHistory,
  withoutTriggers,
} from './stage-run.ts';
import {
  asStep,
  withStageRoot,
  type BuildOutput,
  type BuildParts,
  type BuildSecrets,
  type BuildStep,
  type NamedContext,
  type StageState,
  type StepOutput,
} from './state.ts';

/** What a client asks for. */
export interface BuildRequest {
  /** Text of the Dockerfile. */
  dockerfile: string;
  /** The files to build from; asked for when a step needs them. They stay for as long as the build. */
  context: () => Promise<string>;
  /** Which of the client's files are kept from the context, for warnings. Default: nothing is said of them. */
  ignores?: () => Promise<((path: string) => boolean) | undefined>;
  /** Files and images by names of the client's. Default: none. */
  contexts?: ReadonlyMap<string, NamedContext>;
  secrets?: BuildSecrets | undefined;
  target: string;
  buildArgs: Readonly<Record<string, string | null>>;
  labels: Readonly<Record<string, string>>;
  platform: Platform | undefined;
  /** Names of stages; true for all. */
  noCache: boolean | readonly string[];
  /** Ask registries for newer base images. */
  pull: boolean;
  /** Images whose layers are results. Default: none. */
  cacheFrom?: { references: readonly string[]; pull: boolean };
  limits: RunLimits;
  /** Credentials for a registry. */
  auth(registry: string): Promise<RegistryAuth | undefined>;
}

/** The result of a build, before it is an image. Dispose of it to let go of what it is made of. */
export interface Solved extends AsyncDisposable {
  readonly state: StageState;
  /** Arguments that the client gave and no instruction declared. */
  readonly unusedArgs: readonly string[];
  /** Makes it an image, with names. @returns its id */
  toImage(names: readonly Reference[]): Promise<Digest>;
}

/** Does all steps that the target needs. @throws {DockerfileError} @throws {RunFailed} @throws {EngineError} */
export async function solve(
  parts: BuildParts,
  request: BuildRequest,
  output: BuildOutput,
  job: Job,
): Promise<Solved> {
  const build = new Build(parts, request, output, job);
  try {
    const state = await build.run();
    return {
      state,
      unusedArgs: build.unusedArgs(),
      toImage: (names) => build.toImage(state, names),
      [Symbol.asyncDispose]: () => build.end(),
    };
  } catch (error) {
    await build.end();
    throw error;
  }
}

class Build {
  readonly #parts: BuildParts;
  readonly #request: BuildRequest;
  readonly #output: BuildOutput;
  readonly #job: Job;
  readonly #planned: PlannedBuild;
  readonly #plan: BuildPlan;
  readonly #escape: string;
  readonly #platformArgs: Readonly<Record<string, string>>;
  readonly #states = new Map<number, Promise<StageState>>();
  readonly #fileSystems: FileSystems;
  readonly #usedArgs = new Set<string>();
  /** Results that images have. They are no part of this engine's own cache: their makers are not asked for here. */
  #imported: ReadonlyMap<string, NewLayer> = new Map();
  readonly #platform: Platform;
  readonly #epochNs: bigint | undefined;

  constructor(parts: BuildParts, request: BuildRequest, output: BuildOutput, job: Job) {
    this.#parts = parts;
    this.#request = request;
    this.#output = output;
    this.#job = job;
    this.#planned = planBuild(request);
    const { file, plan, platform } = this.#planned;
    this.#escape = file.escape;
    this.#platform = platform;
    this.#platformArgs = this.#planned.platformArgs;
    this.#plan = plan;
    this.#fileSystems = new FileSystems(parts, {
      buildId: job.id,
      platform: this.#platform,
      pull: request.pull,
      auth: (registry) => request.auth(registry),
      signal: job.signal,
    });
    const epoch = request.buildArgs['SOURCE_DATE_EPOCH'];
    this.#epochNs = epoch && /^\d{1,12}$/.test(epoch) ? BigInt(epoch) * 1_000_000_000n : undefined;
  }

  async run(): Promise<StageState> {
    const { settings } = this.#planned;
    if (settings.error) requireClean(this.#planned, await this.#lint());
    try {
      return await this.#runStages();
    } finally {
      // base images are here now: their variables are known
      for (const warning of await this.#lint()) this.#output.warn(shortWarning(warning), warning);
    }
  }

  #lint(): Promise<LintWarning[]> {
    return lintBuild(this.#parts, this.#request, this.#planned);
  }

  async #runStages(): Promise<StageState> {
    const { cacheFrom, auth } = this.#request;
    this.#imported = await cacheOfImages(this.#parts, cacheFrom?.references ?? [], this.#output, {
      pull: cacheFrom?.pull ?? false,
      auth,
      signal: this.#job.signal,
      hold: (keys) => this.#fileSystems.hold(keys),
    });
    // all that the target needs begins at once; each waits for what it needs itself
    const states = this.#plan.needed.map((index) => this.#stage(index));
    const failed = await Promise.allSettled(states).then((results) =>
      results.find((result) => result.status === 'rejected'),
    );
    if (failed) throw failed.reason;
    return this.#stage(this.#plan.target);
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.#states.values());
    await this.#fileSystems[Symbol.asyncDispose]();
    await this.#parts.cache.collect();
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
    const from = stepOf(this.#plan, stage, -1);
    const base = await this.#base(stage, from);
    const run = new StageRun(this.#escape, this.#plan, this.#request.buildArgs, this.#platformArgs);
    let state: StageState = { ...base, config: withoutTriggers(base.config) };
    for (const [i, instruction] of triggersOf(base).entries()) {
      const trigger: BuildStep = {
        id: `${from.id}.${i}`,
        name: `${from.name} (${describe(instruction)})`,
        text: describe(instruction),
        kind: 'trigger',
        inputs: [from.id],
      };
      state = await this.#apply(stage, run, state, instruction, trigger);
    }
    for (const [i, instruction] of stage.instructions.entries())
      state = await this.#apply(stage, run, state, instruction, stepOf(this.#plan, stage, i));
    for (const name of run.used) this.#usedArgs.add(name);
    return state;
  }

  async #base({ base, from, name }: Stage, step: BuildStep): Promise<StageState> {
    const named =
      base.kind === 'scratch'
        ? undefined
        : base.kind === 'stage'
          ? this.#named(this.#plan.stages[base.index]!.name)
          : this.#named(base.reference);
    // a stage that the client has put something else in the place of is not waited for
    const earlier = base.kind === 'stage' && named === undefined ? await this.#stage(base.index) : undefined;
    return asStep(this.#output, step, async (output) => {
      if (earlier !== undefined) return earlier;
      if (base.kind === 'scratch') return this.#scratch();
      if (named?.kind === 'directory') return this.#directoryAsBase(await named.open());
      const reference = named?.reference ?? (base.kind === 'image' ? base.reference : (name ?? ''));
      const platform = base.kind === 'image' ? base.platform : undefined;
      const image = await this.#fileSystems.image(reference, platform, from, output);
      const { architecture, os, variant, history = [], author, config = {} } = image.config;
      this.#checkPlatform(reference, platform, image.config, from);
      output.say(` ---> ${image.id.slice('sha256:'.length, 'sha256:'.length + 12)}`);
      return {
        config: { ...config },
        layers: await layersOf(this.#parts.images, image, this.#job.signal),
        chain: image.chain,
        history,
        platform: { architecture, os, ...(variant === undefined ? {} : { variant }) },
        author,
        made: [],
        args: new Map(),
      };
    });
  }

  #checkPlatform(reference: string, asked: string | undefined, config: Platform, place: Place): void {
    const wanted = asked === undefined ? this.#platform : parsePlatform(asked);
    const detail = platformMismatch(reference, config, wanted);
    if (detail === undefined) return;
    const warning = { rule: lintRule('InvalidBaseImagePlatform'), detail, place };
    this.#output.warn(shortWarning(warning), warning);
  }

  #scratch(): StageState {
    const { architecture, os, variant } = this.#platform;
    const platform = { architecture, os, ...(variant === undefined ? {} : { variant }) };
    return {
      config: {},
      layers: [],
      chain: [],
      history: [],
      platform,
      author: undefined,
      made: [],
      args: new Map(),
    };
  }

  /** A directory of the client's as the first layer. */
  async #directoryAsBase(root: string): Promise<StageState> {
    const { signal } = this.#job;
    const tree = { kind: 'tree' as const, root, path: '/', name: '' };
    const layer = await this.#parts.layers.importLayer(this.#parts.trees.layer([tree], signal), { signal });
    return this.#withLayer(this.#scratch(), layer, undefined);
  }

  #named(name: string | undefined): NamedContext | undefined {
    const { contexts } = this.#request;
    if (contexts === undefined || name === undefined) return undefined;
    return contexts.get(name) ?? contexts.get(name.toLowerCase());
  }

  async #apply(
    stage: Stage,
    run: StageRun,
    state: StageState,
    instruction: Instruction,
    step: BuildStep,
  ): Promise<StageState> {
    this.#job.signal.throwIfAborted();
    const { keyword } = instruction;
    const work: Work = { stage, run, state, instruction };
    if (keyword === 'COPY' || keyword === 'ADD') return this.#copy(work, step);
    return asStep(this.#output, step, async (output) => {
      switch (keyword) {
        case 'ARG':
          return withHistory(run.declare(instruction, state), instruction, this.#now());
        case 'MAINTAINER':
          return withHistory({ ...state, author: instruction.args }, instruction, this.#now());
        case 'RUN':
          return this.#run(work, output);
        default: {
          if (!CONFIG_KEYWORDS.has(keyword))
            throw new DockerfileError(`${keyword} cannot stand here`, instruction);
          const config: ContainerConfig = { ...state.config };
          applyToConfig(config, instruction, run.words(state), run.marks);
          const next = withHistory({ ...state, config }, instruction, this.#now());
          return keyword === 'WORKDIR' ? this.#makeWorkingDirectory({ ...work, state: next }, output) : next;
        }
      }
    });
  }

  async #makeWorkingDirectory(work: Work, output: StepOutput): Promise<StageState> {
    const { state, instruction } = work;
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
    const layer = await this.#cached(key, work, output, () =>
      this.#parts.layers.importLayer(trees.layer(directories, this.#job.signal), {
        signal: this.#job.signal,
      }),
    );
    return this.#withLayer({ ...state, history: state.history.slice(0, -1) }, layer, instruction, output);
  }

  async #copy(work: Work, step: BuildStep): Promise<StageState> {
    const { stage, run, state, instruction } = work;
    const words = run.words(state);
    const request = parseCopy(expandHeredocs(instruction, words), words);
    // what it copies from is waited for before the step begins: that is not its own time
    const source = await this.#source(stage, request.from, instruction);
    return asStep(this.#output, step, async (output) => {
      const copy = (root: string): Promise<StageState> => this.#copyFrom(root, request, work, output);
      if (source.kind === 'directory') return copy(source.path);
      return withStageRoot(this.#parts, source.chainId, copy);
    });
  }

  async #copyFrom(source: string, request: CopyRequest, work: Work, output: StepOutput): Promise<StageState> {
    const { state, instruction } = work;
    const { signal } = this.#job;
    return withStageRoot(this.#parts, state.chain.at(-1), async (target) => {
      const { parts, temporary } = await copyParts(this.#parts, request, {
        source,
        target,
        workingDirectory: state.config.WorkingDir ?? '/',
        nowNs: this.#epochNs ?? nowNs(),
        scratch: join(this.#parts.directory, 'contexts'),
        signal,
      });
      try {
        const key = this.#key(state, { files: await copyDigest(this.#parts, parts, signal) });
        const clamped = parts.map((part) =>
          this.#epochNs === undefined ? part : { ...part, mtimeNs: this.#epochNs },
        );
        const layer = await this.#cached(key, work, output, () =>
          this.#parts.layers.importLayer(this.#parts.trees.layer(clamped, signal), { signal }),
        );
        return await this.#withLayer(state, layer, instruction, output);
      } finally {
        for (const path of temporary) await rm(path, { recursive: true, force: true });
      }
    });
  }

  async #run(work: Work, output: StepOutput): Promise<StageState> {
    const { stage, run, state, instruction } = work;
    const request = parseRun(instruction, state, run.env(state), run.words(state));
    const sources: unknown[] = [];
    for (const { type, from } of request.mounts) {
      if (type !== 'bind') continue;
      const source = await this.#source(stage, from, instruction);
      sources.push(source.kind === 'stage' ? source.chainId : await this.#digestOf(source.path));
    }
    const key = this.#key(state, { run: runKey(request, state), sources });
    const layer = await this.#cached(key, work, output, () =>
      this.#parts.jobs.run(
        'build.run',
        (job) =>
          runStep(this.#parts, request, state, {
            limits: this.#request.limits,
            job,
            output,
            secrets: this.#request.secrets,
            sourceOf: async (from) => {
              const source = await this.#source(stage, from, instruction);
              return source.kind === 'directory' ? source.path : this.#fileSystems.mount(source.chainId);
            },
          }),
        { parent: this.#job, subject: describe(instruction) },
      ),
    );
    return this.#withLayer(state, layer, instruction, output);
  }

  /** What a `from` names: something of the client's, an earlier stage, or an image. */
  async #source(stage: Stage, from: string | undefined, instruction: Instruction): Promise<Source> {
    if (from === undefined) return { kind: 'directory', path: await this.#request.context() };
    const named = this.#named(from);
    if (named?.kind === 'directory') return { kind: 'directory', path: await named.open() };
    const earlier = named ? undefined : findStage(this.#plan.stages, from, stage.index);
    if (earlier) return { kind: 'stage', chainId: (await this.#stage(earlier.index)).chain.at(-1) };
    if (named === undefined && /^\d+$/.test(from))
      throw new DockerfileError(`invalid from flag value ${from}: no such stage`, instruction);
    const reference = named?.reference ?? from;
    const step: BuildStep = {
      id: `image ${reference}`,
      name: `FROM ${reference}`,
      text: '',
      kind: 'transfer',
      inputs: [],
    };
    const image = await asStep(this.#output, step, (output) =>
      this.#fileSystems.image(reference, undefined, instruction, output),
    );
    return { kind: 'stage', chainId: image.chainId };
  }

  #digestOf(root: string): Promise<string> {
    const whole = [{ kind: 'tree' as const, root, path: '/', name: '' }];
    return copyDigest(this.#parts, whole, this.#job.signal);
  }

  #key(state: StageState, step: unknown): string {
    const text = JSON.stringify([state.chain.at(-1) ?? 'scratch', formatPlatform(this.#platform), step]);
    return `sha256:${createHash('sha256').update(text).digest('hex')}`;
  }

  async #cached(
    key: string,
    { stage, instruction }: Work,
    output: StepOutput,
    work: () => Promise<NewLayer>,
  ): Promise<NewLayer & { key: string }> {
    const { cache, images } = this.#parts;
    const { noCache } = this.#request;
    const without = typeof noCache === 'boolean' ? noCache : noCache.includes(stage.name ?? '');
    const known = without ? undefined : cache.get(key);
    if (known && (await images.content.has(known.layer.descriptor))) {
      cache.use(key);
      output.cached();
      return { ...known.layer, key };
    }
    const imported = without ? undefined : this.#imported.get(key);
    if (imported) {
      output.cached();
      return { ...imported, key };
    }
    const { descriptor, diffId } = await work();
    cache.put(key, { descriptor, diffId }, describe(instruction));
    return { descriptor, diffId, key };
  }

  /** The stage with a layer on top, unpacked: the next step may need it. */
  async #withLayer(
    state: StageState,
    layer: NewLayer & { key?: string },
    instruction: Instruction | undefined,
    output?: StepOutput,
  ): Promise<StageState> {
    const { images, unpacker } = this.#parts;
    const told = (next: StageState, empty: boolean): StageState =>
      instruction ? withHistory(next, instruction, this.#now(), empty) : next;
    if (isEmptyLayer(layer.diffId)) return told(state, true);
    const { descriptor, diffId, key } = layer;
    const layers = [...state.layers, { descriptor, diffId }];
    const chain = await chainIds(layers.map(({ diffId }) => diffId));
    const chainId = chain.at(-1)!;
    this.#fileSystems.hold([layer.descriptor.digest, chainId]);
    const { signal } = this.#job;
    if (!(await images.snapshots.stat(chainId, { signal }))) {
      const onProgress = (): void => undefined;
      await unpacker.unpackLayer({ ...layer, chainId }, chain.at(-2), { signal, onProgress });
    }
    output?.made(chainId);
    const made = key === undefined ? state.made : [...state.made, { key, diffId }];
    return told({ ...state, layers, chain, made }, false);
  }

  /** The result as an image. */
  async toImage(state: StageState, names: readonly Reference[]): Promise<Digest> {
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
          ...withSteps(state.made),
        },
      },
      this.#job.signal,
    );
    images.emit('create', id, id, config.Labels ?? {});
    for (const name of names) nameImage(images, id, name);
    return id;
  }

  #now(): string {
    return formatTime(this.#epochNs ?? nowNs());
  }

  unusedArgs(): string[] {
    return Object.keys(this.#request.buildArgs).filter(
      (name) =>
        !this.#usedArgs.has(name) &&
        !PROXY_ARGS.has(name) &&
        !this.#plan.globalArgs.has(name) &&
        !/^(BUILDKIT_|SOURCE_DATE_EPOCH$)/.test(name),
    );
  }
}

/** What one instruction is applied to. */
interface Work {
  stage: Stage;
  run: StageRun;
  state: StageState;
  instruction: Instruction;
}

/** Where files are copied or mounted from. */
type Source = { kind: 'directory'; path: string } | { kind: 'stage'; chainId: Digest | undefined };
