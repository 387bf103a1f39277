/** The solver: stages beside each other, steps from the cache or done. */
import type { Platform } from '@tare/image-spec';

import { messageOf } from '../errors.ts';
import type { NewImage } from '../images/create.ts';
import { ENGINE_VERSION } from '../version.ts';
import { lintBuild, planBuild, requireClean, shortWarning, type PlannedBuild } from './checks.ts';
import { DockerfileError } from './dockerfile/errors.ts';
import type { LintWarning } from './dockerfile/lint.ts';
import type { Instruction } from './dockerfile/parser.ts';
import { findStage, type BuildPlan, type Stage } from './dockerfile/stages.ts';
import { withSteps } from './image-cache.ts';
import { asStep, transfer, type BuildOutput, type BuildStep } from './output.ts';
import type { BuildRequest, ContextFiles } from './request.ts';
import { StepResults, type SharedResults, type UsedResults } from './results.ts';
import type { SolverParts } from './seams.ts';
import { Sources, type Source } from './sources.ts';
import { describe, isUnneededArg, StageRun, stepOf, triggersOf, withoutTriggers } from './stage-run.ts';
import { emptyStage, stageOf, type StageState } from './state.ts';
import { LinkedCopies, Steps } from './steps.ts';

/** The result of a build, before it is an image. Dispose of it to let go of what it is made of. */
export interface Solved extends AsyncDisposable {
  readonly state: StageState;
  /** Arguments that the client gave and no instruction declared. */
  readonly unusedArgs: readonly string[];
  /** Results of all steps, by their keys: what a cache for other engines is made of. */
  readonly results: UsedResults;
  /** The result as the parts of an image. */
  image(): NewImage & { layers: StageState['layers'] };
}

/** What surrounds a build. */
export interface SolveOptions {
  output: BuildOutput;
  /** Unique to the build. */
  id: string;
  /** Results that builds for other platforms have, or are making. */
  shared?: SharedResults;
  signal: AbortSignal;
}

/** Does all steps that the target needs. @throws {DockerfileError} @throws {RunFailed} @throws {EngineError} */
export async function solve(
  parts: SolverParts,
  request: BuildRequest,
  options: SolveOptions,
): Promise<Solved> {
  const build = new Build(parts, request, options);
  try {
    const state = await build.run();
    return {
      state,
      unusedArgs: build.unusedArgs(),
      results: build.used(),
      image: () => build.image(state),
      [Symbol.asyncDispose]: () => build.end(),
    };
  } catch (error) {
    await build.end();
    throw error;
  }
}

class Build {
  readonly #parts: SolverParts;
  readonly #request: BuildRequest;
  readonly #options: SolveOptions;
  readonly #planned: PlannedBuild;
  readonly #plan: BuildPlan;
  readonly #platform: Platform;
  readonly #states = new Map<number, Promise<StageState>>();
  readonly #sources: Sources;
  readonly #results: StepResults;
  readonly #steps: Steps;
  readonly #usedArgs = new Set<string>();

  constructor(parts: SolverParts, request: BuildRequest, options: SolveOptions) {
    this.#parts = parts;
    this.#request = request;
    this.#options = options;
    this.#planned = planBuild(request);
    const { plan, platform } = this.#planned;
    const { id: buildId, output, signal } = options;
    this.#plan = plan;
    this.#platform = platform;
    this.#sources = new Sources(parts, { buildId, request, platform, output, signal });
    const { noCache, buildArgs } = request;
    this.#results = new StepResults(parts, {
      shared: options.shared,
      epochNs: epochOf(buildArgs),
      useCache: (name) => (typeof noCache === 'boolean' ? !noCache : !noCache.includes(name ?? '')),
      hold: (keys) => this.#sources.hold(keys),
      signal,
    });
    this.#steps = new Steps({
      parts,
      request,
      output,
      results: this.#results,
      sources: this.#sources,
      sourceOf: (stage, from, instruction) => this.#source(stage, from, instruction),
      signal,
    });
  }

  async run(): Promise<StageState> {
    const { output } = this.#options;
    if (this.#planned.settings.error) requireClean(this.#planned, await this.#lint());
    try {
      await this.#importCaches();
      return await this.#runStages();
    } finally {
      // base images are here now: their variables are known
      for (const warning of await this.#lint()) output.warn(shortWarning(warning), warning);
    }
  }

  #lint(): Promise<LintWarning[]> {
    return lintBuild(this.#parts.bases, this.#request, this.#planned);
  }

  /** Takes results from elsewhere. What cannot be had is a warning. */
  async #importCaches(): Promise<void> {
    const { output, signal } = this.#options;
    const hold = (keys: readonly string[]): void => this.#sources.hold(keys);
    for (const { name, load, quiet = false } of this.#request.cacheFrom ?? []) {
      const step = transfer(`cache ${name}`, `importing cache manifest from ${name}`);
      await asStep(output, step, async (told) =>
        this.#results.import(await load({ output: told, hold, signal })),
      ).catch((error: unknown) => {
        signal.throwIfAborted();
        if (!quiet) output.warn(`no cache of ${name}: ${messageOf(error)}`);
      });
    }
  }

  async #runStages(): Promise<StageState> {
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
    await this.#sources[Symbol.asyncDispose]();
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
    const newRun = (): StageRun =>
      new StageRun(this.#planned, this.#request.buildArgs, stage.name ?? String(stage.index));
    const run = newRun();
    let state: StageState = { ...base, config: withoutTriggers(base.config) };
    const steps = [
      ...triggersOf(base).map((instruction, i) => ({ instruction, step: triggerStep(from, instruction, i) })),
      ...stage.instructions.map((instruction, i) => ({ instruction, step: stepOf(this.#plan, stage, i) })),
    ];
    await using linked = new LinkedCopies(this.#steps, { stage, run: newRun(), state, steps });
    for (const { instruction, step } of steps) {
      state = await this.#steps.apply({ stage, run, state, instruction }, step, linked.of(instruction));
    }
    for (const name of run.used) this.#usedArgs.add(name);
    return state;
  }

  async #base({ base, from, name }: Stage, step: BuildStep): Promise<StageState> {
    const { stages } = this.#plan;
    const named =
      base.kind === 'scratch'
        ? undefined
        : this.#sources.named(base.kind === 'stage' ? stages[base.index]!.name : base.reference);
    // a stage that the client has put something else in the place of is not waited for
    const earlier = base.kind === 'stage' && named === undefined ? await this.#stage(base.index) : undefined;
    return asStep(this.#options.output, step, async (output) => {
      if (earlier !== undefined) return earlier;
      if (base.kind === 'scratch') return emptyStage(this.#platform);
      if (named?.kind === 'directory') return this.#directoryAsBase(await named.open());
      const reference = named?.reference ?? (base.kind === 'image' ? base.reference : (name ?? ''));
      const platform = base.kind === 'image' ? base.platform : undefined;
      const image = await this.#sources.base(reference, platform, from, output);
      output.say(` ---> ${image.id.slice('sha256:'.length, 'sha256:'.length + 12)}`);
      return stageOf(image);
    });
  }

  /** A directory of the client's as the first layer. */
  async #directoryAsBase({ root }: ContextFiles): Promise<StageState> {
    const { signal } = this.#options;
    const mtimeNs = this.#results.epochNs;
    const tree = { kind: 'tree' as const, root, path: '/', name: '', mtimeNs };
    const { trees, layers } = this.#parts;
    const layer = await layers.commitArchive(
      (members) => trees.layer([tree], signal, { reusePieces: true, members }),
      undefined,
      { compression: 'none', signal },
    );
    return this.#results.onTop(emptyStage(this.#platform), layer, undefined);
  }

  /** What a `from` names: something of the client's, an earlier stage, or an image. */
  async #source(stage: Stage, from: string | undefined, instruction: Instruction): Promise<Source> {
    if (from === undefined) return { kind: 'files', files: await this.#sources.context() };
    const named = this.#sources.named(from);
    if (named?.kind === 'directory') return { kind: 'files', files: await named.open() };
    const earlier = named ? undefined : findStage(this.#plan.stages, from, stage.index);
    if (earlier) return { kind: 'stage', chainId: (await this.#stage(earlier.index)).chain.at(-1) };
    if (named === undefined && /^\d+$/.test(from))
      throw new DockerfileError(`invalid from flag value ${from}: no such stage`, instruction);
    if (named === undefined && from.toLowerCase() === 'scratch') return { kind: 'stage', chainId: undefined };
    const image = await this.#sources.image(named?.reference ?? from, instruction);
    return { kind: 'stage', chainId: image.chain.at(-1) };
  }

  image(state: StageState): NewImage {
    const { labels, buildArgs } = this.#request;
    const config = { ...state.config };
    if (Object.keys(labels).length > 0) config.Labels = { ...config.Labels, ...labels };
    return {
      layers: state.layers,
      config: {
        created: this.#results.timeOf(state),
        ...(state.author === undefined ? {} : { author: state.author }),
        ...state.platform,
        config,
        history: [...state.history],
        docker_version: ENGINE_VERSION,
        // an image that must be the same everywhere says nothing of how its layers came about
        ...(buildArgs['BUILDKIT_INLINE_CACHE'] === '0' ? {} : withSteps(state.made)),
      },
    };
  }

  used(): UsedResults {
    return this.#results.used;
  }

  unusedArgs(): string[] {
    return Object.keys(this.#request.buildArgs).filter(
      (name) => !this.#usedArgs.has(name) && !this.#plan.globalArgs.has(name) && !isUnneededArg(name),
    );
  }
}

/** An instruction that the base image brought. */
function triggerStep(from: BuildStep, instruction: Instruction, i: number): BuildStep {
  const text = describe(instruction);
  return {
    id: `${from.id}.${i}`,
    name: `${from.name} (${text})`,
    text,
    kind: 'trigger',
    inputs: [from.id],
  };
}

/** The fixed time of everything that a build makes, in nanoseconds. */
function epochOf(buildArgs: BuildRequest['buildArgs']): bigint | undefined {
  const text = buildArgs['SOURCE_DATE_EPOCH'];
  if (text === undefined || text === null || text === '') return undefined;
  if (!/^\d{1,12}$/.test(text)) {
    throw new DockerfileError(
      `SOURCE_DATE_EPOCH cannot be ${JSON.stringify(text)}: seconds since 1970 are expected`,
      undefined,
    );
  }
  return BigInt(text) * 1_000_000_000n;
}
