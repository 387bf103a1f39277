/** One instruction applied to a stage: what it changes in the config, or the layer that it makes. */
import type { ContainerConfig } from '@tare/image-spec';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import type { TreeRoot } from '../containers/trees.ts';
import { copyDigest, copyParts, ownerNamed, parseCopy, type CopyRequest } from './copy-step.ts';
import { applyToConfig, CONFIG_KEYWORDS } from './dockerfile/config-instructions.ts';
import { DockerfileError } from './dockerfile/errors.ts';
import type { Instruction } from './dockerfile/parser.ts';
import type { Stage } from './dockerfile/stages.ts';
import { asStep, type BuildOutput, type BuildStep, type StepOutput } from './output.ts';
import type { BuildRequest } from './request.ts';
import type { KeyedLayer, StepResults } from './results.ts';
import { parseRun, runKey, runStep } from './run-step.ts';
import type { SolverParts } from './seams.ts';
import type { Source, Sources } from './sources.ts';
import { describe, expandHeredocs, withHistory, type StageRun } from './stage-run.ts';
import { kindOf, statIn } from './stat.ts';
import { withStageRoot, type StageState } from './state.ts';

/** What steps work with. */
export interface StepsPlace {
  parts: SolverParts;
  request: BuildRequest;
  output: BuildOutput;
  results: StepResults;
  sources: Sources;
  /** What a `from` names for an instruction of a stage; the context when undefined. */
  sourceOf(stage: Stage, from: string | undefined, instruction: Instruction): Promise<Source>;
  signal: AbortSignal;
}

/** What one instruction is applied to. */
export interface Work {
  stage: Stage;
  run: StageRun;
  state: StageState;
  instruction: Instruction;
}

/** A layer of files, and where its step is told of. */
export type CopiedLayer = KeyedLayer & { output: StepOutput };

const ROOT = { uid: 0, gid: 0 };

/** Key of what does not depend on the file system it goes on. */
const ANYWHERE = 'anywhere';

/** Steps of one build. */
export class Steps {
  readonly #place: StepsPlace;

  constructor(place: StepsPlace) {
    this.#place = place;
  }

  /**
   * The stage after the instruction.
   *
   * @param copied - the layer of a copy that was begun before
   * @throws {DockerfileError}
   * @throws {RunFailed}
   */
  async apply(work: Work, step: BuildStep, copied?: Promise<CopiedLayer>): Promise<StageState> {
    this.#place.signal.throwIfAborted();
    const { run, state, instruction } = work;
    const { keyword } = instruction;
    const { output, results } = this.#place;
    if (keyword === 'COPY' || keyword === 'ADD') {
      if (copied) {
        const { output: told, ...layer } = await copied;
        return results.onTop(state, layer, instruction, told);
      }
      const make = await this.#copier(work);
      return asStep(output, step, async (told) => results.onTop(state, await make(told), instruction, told));
    }
    return asStep(output, step, async (told) => {
      switch (keyword) {
        case 'ARG':
          return withHistory(run.declare(instruction, state), instruction, results.timeOf(state));
        case 'MAINTAINER':
          return withHistory({ ...state, author: instruction.args }, instruction, results.timeOf(state));
        case 'RUN':
          return this.#run(work, told);
        default: {
          const next = withHistory(configAfter(work), instruction, results.timeOf(state));
          return keyword === 'WORKDIR' ? this.#makeWorkingDirectory({ ...work, state: next }, told) : next;
        }
      }
    });
  }

  /** The layer of a copy that needs nothing of the file system it goes on. */
  async copyLinked(work: Work, step: BuildStep): Promise<CopiedLayer> {
    const make = await this.#copier(work);
    return asStep(this.#place.output, step, async (told) => ({ ...(await make(told)), output: told }));
  }

  /** Waits for what a COPY or ADD copies from: that is not the step's own time. @returns what makes its layer */
  async #copier(work: Work): Promise<(output: StepOutput) => Promise<KeyedLayer>> {
    const { stage, run, state, instruction } = work;
    const { parts, sourceOf } = this.#place;
    const words = run.words(state);
    const request = parseCopy(expandHeredocs(instruction, words), words);
    const source = await sourceOf(stage, request.from, instruction);
    return (output) => {
      const copy = (root: TreeRoot): Promise<KeyedLayer> => this.#copyFrom(root, request, work, output);
      if (source.kind === 'files') return copy(source.files.root);
      return withStageRoot(parts, source.chainId, copy);
    };
  }

  async #copyFrom(
    source: TreeRoot,
    request: CopyRequest,
    work: Work,
    output: StepOutput,
  ): Promise<KeyedLayer> {
    const { state, stage, instruction } = work;
    const { parts: all, results, request: build, signal } = this.#place;
    const below = state.chain.at(-1);
    return withStageRoot(all, below, async (target) => {
      const { parts, temporary } = await copyParts(all, request, {
        source,
        target,
        workingDirectory: state.config.WorkingDir ?? '/',
        nowNs: results.timeNs,
        scratch: join(all.directory, 'contexts'),
        secrets: build.secrets,
        signal,
      });
      try {
        const files = await copyDigest(all, parts, signal);
        const key = results.key(request.link ? ANYWHERE : (below ?? 'scratch'), state.platform, { files });
        const { epochNs } = results;
        const clamped = parts.map((part) => (epochNs === undefined ? part : { ...part, mtimeNs: epochNs }));
        return await results.cached(key, { stageName: stage.name, instruction, output }, () =>
          // what it will stand on is not known yet
          request.link
            ? all.layers.importLayer(all.trees.layer(clamped, signal), { compression: 'none', signal })
            : all.layers.commitArchive(
                (members) => all.trees.layer(clamped, signal, { reusePieces: true, members }),
                below,
                { compression: 'none', signal },
              ),
        );
      } finally {
        for (const path of temporary) await rm(path, { recursive: true, force: true });
      }
    });
  }

  async #makeWorkingDirectory(work: Work, output: StepOutput): Promise<StageState> {
    const { state, stage, instruction } = work;
    const { parts, results, signal } = this.#place;
    const path = state.config.WorkingDir ?? '/';
    const below = state.chain.at(-1);
    const names = path.split('/').filter((name) => name !== '');
    const { missing, owner } = await withStageRoot(parts, below, (root) => {
      const directories = names
        .map((_, i) => names.slice(0, i + 1).join('/'))
        .filter((name) => kindOf(statIn(parts.trees.stat, root, `/${name}/.`)) !== 'directory');
      const { User = '' } = state.config;
      const named =
        User === '' || directories.length === 0 ? ROOT : ownerNamed(parts, User, root, instruction);
      return Promise.resolve({ missing: directories, owner: named });
    });
    if (missing.length === 0) return state;
    const mtimeNs = results.timeNs;
    const directories = missing.map((name) => ({ kind: 'directory' as const, name, mtimeNs, owner }));
    const key = results.key(below ?? 'scratch', state.platform, { directories: missing, owner });
    const layer = await results.cached(key, { stageName: stage.name, instruction, output }, () =>
      parts.layers.commitArchive(parts.trees.layer(directories, signal), below, {
        compression: 'none',
        signal,
      }),
    );
    return results.onTop({ ...state, history: state.history.slice(0, -1) }, layer, instruction, output);
  }

  async #run(work: Work, output: StepOutput): Promise<StageState> {
    const { stage, run, state, instruction } = work;
    const { parts, results, sources, request: build, sourceOf, signal } = this.#place;
    const request = parseRun(instruction, state, {
      env: run.env(state),
      proxies: run.proxies(state),
      words: run.words(state),
      cacheNamespace: run.given('BUILDKIT_CACHE_MOUNT_NS'),
      entitlements: build.entitlements ?? [],
    });
    const digests: unknown[] = [];
    for (const { type, from } of request.mounts) {
      if (type !== 'bind') continue;
      const source = await sourceOf(stage, from, instruction);
      digests.push(source.kind === 'stage' ? source.chainId : await this.#digestOf(source.files.root));
    }
    const key = results.key(state.chain.at(-1) ?? 'scratch', state.platform, {
      run: runKey(request, state),
      sources: digests,
    });
    const layer = await results.cached(key, { stageName: stage.name, instruction, output }, () =>
      runStep(parts, request, state, {
        limits: build.limits,
        output,
        secrets: build.secrets,
        sourceOf: async (from) => sources.path(await sourceOf(stage, from, instruction)),
        hostname: run.given('BUILDKIT_SANDBOX_HOSTNAME'),
        epochNs: results.epochNs,
        title: describe(instruction),
        signal,
      }),
    );
    return results.onTop(state, layer, instruction, output);
  }

  #digestOf(root: TreeRoot): Promise<string> {
    const whole = [{ kind: 'tree' as const, root, path: '/', name: '' }];
    return copyDigest(this.#place.parts, whole, this.#place.signal);
  }
}

/** The stage after an instruction that changes the config alone, WORKDIR without its directory. @throws {DockerfileError} */
export function configAfter({ run, state, instruction }: Work): StageState {
  if (!CONFIG_KEYWORDS.has(instruction.keyword)) {
    throw new DockerfileError(`${instruction.keyword} cannot stand here`, instruction);
  }
  const config: ContainerConfig = { ...state.config };
  applyToConfig(config, instruction, run.words(state), run.marks);
  return { ...state, config };
}

/**
 * Copies with `--link` need nothing of the file system they go on: they begin together with their stage. What is wrong with
 * them is told when it is their turn. Disposing of it waits for all.
 */
export class LinkedCopies implements AsyncDisposable {
  readonly #begun = new Map<Instruction, Promise<CopiedLayer>>();

  constructor(
    steps: Steps,
    { stage, run, state, steps: all }: Omit<Work, 'instruction'> & { steps: readonly PlannedStep[] },
  ) {
    let now = state;
    for (const { instruction, step } of all) {
      try {
        const work = { stage, run, state: now, instruction };
        if (isLinked(instruction)) {
          const layer = steps.copyLinked(work, step);
          layer.catch(() => undefined);
          this.#begun.set(instruction, layer);
        } else if (instruction.keyword === 'ARG') now = run.declare(instruction, now);
        else if (CONFIG_KEYWORDS.has(instruction.keyword)) now = configAfter(work);
      } catch (error) {
        // the instruction itself will say so; what comes after it is not reached
        if (error instanceof DockerfileError) return;
        throw error;
      }
    }
  }

  /** The layer of an instruction, if it has begun. */
  of(instruction: Instruction): Promise<CopiedLayer> | undefined {
    return this.#begun.get(instruction);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#begun.values());
  }
}

/** An instruction, and what clients are told of it. */
export interface PlannedStep {
  instruction: Instruction;
  step: BuildStep;
}

/** Names of owners are looked up in the file system, which is not there yet. */
function isLinked({ keyword, flags }: Instruction): boolean {
  if (keyword !== 'COPY' && keyword !== 'ADD') return false;
  const value = (name: string): string | undefined => flags.findLast((flag) => flag.name === name)?.value;
  const linked = flags.some(({ name, value: given = 'true' }) => name === 'link' && given === 'true');
  return linked && /^[\d:]*$/.test(value('chown') ?? '');
}
