/** Results of steps: keys by content, layers from the cache or made, and stages with them on top. */
import { chainIds, formatPlatform, isEmptyLayer } from '@tare/image-spec';
import { createHash } from 'node:crypto';

import type { NewLayer } from '../images/create.ts';
import { formatTime, nowNs } from '../time.ts';
import type { Instruction } from './dockerfile/parser.ts';
import type { StepOutput } from './output.ts';
import type { ImportedResult } from './request.ts';
import type { SolverParts } from './seams.ts';
import { describe, withHistory } from './stage-run.ts';
import type { StageState } from './state.ts';

/** Everything that a build has used or made, by the keys of its steps. */
export type UsedResults = ReadonlyMap<string, NewLayer>;

/** A layer, and when it was made, if that is known. */
type TimedLayer = NewLayer & { created?: string | undefined };

/** The same with the key of the step that made it; without one it is in no cache. */
export type KeyedLayer = TimedLayer & { key?: string };

/** Results of builds that are one to their client, made or in the making, by their keys: what they share is made once. */
export type SharedResults = Map<string, Promise<TimedLayer>>;

/** What results of one build depend on. */
export interface ResultsOptions {
  /** Of builds for other platforms, that are made at the same time. Default: there are none. */
  shared: SharedResults | undefined;
  /** Time of everything that is made; undefined for now. */
  epochNs: bigint | undefined;
  /** Whether what is known counts in a stage. */
  useCache(stageName: string | undefined): boolean;
  /** Keeps blobs and layers for as long as the build. */
  hold(keys: readonly string[]): void;
  signal: AbortSignal;
}

/** Results of one build. */
export class StepResults {
  readonly #parts: Pick<SolverParts, 'cache' | 'layers'>;
  readonly #options: ResultsOptions;
  /** Results of elsewhere. They are no part of the cache: their makers are not asked for here. */
  readonly #imported = new Map<string, ImportedResult>();
  readonly #used = new Map<string, NewLayer>();

  constructor(parts: Pick<SolverParts, 'cache' | 'layers'>, options: ResultsOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  get used(): UsedResults {
    return this.#used;
  }

  /** Time for what is made now. */
  get timeNs(): bigint {
    return this.#options.epochNs ?? nowNs();
  }

  /** The fixed time of this build, if it has one. */
  get epochNs(): bigint | undefined {
    return this.#options.epochNs;
  }

  /** Adds results of elsewhere, for this build alone. */
  import(results: ReadonlyMap<string, ImportedResult>): void {
    for (const [key, layer] of results) if (!this.#imported.has(key)) this.#imported.set(key, layer);
  }

  /**
   * The key of a step on `below`, the topmost chainID, or on anything when its result does not depend on that.
   *
   * @param platform - of the stage
   * @param step - everything else that the result depends on; its JSON counts
   */
  key(below: string, platform: StageState['platform'], step: unknown): string {
    const { epochNs } = this.#options;
    // with a fixed time the layer itself is another one
    const epoch = epochNs === undefined ? [] : [String(epochNs)];
    const text = JSON.stringify([below, formatPlatform(platform), step, ...epoch]);
    return `sha256:${createHash('sha256').update(text).digest('hex')}`;
  }

  /** The result that is known for `key`, or that of `work`. */
  async cached(
    key: string,
    {
      stageName,
      instruction,
      output,
    }: { stageName: string | undefined; instruction: Instruction; output: StepOutput },
    work: () => Promise<NewLayer>,
  ): Promise<KeyedLayer> {
    const make = async (): Promise<TimedLayer> =>
      (await this.#known(key, stageName, output)) ?? (await this.#make(key, instruction, work));
    const layer = await this.#once(key, make);
    this.#options.hold([layer.descriptor.digest]);
    this.#used.set(key, layer);
    return { ...layer, key };
  }

  /** Of builds that share results, the first that comes to a step does it. */
  #once(key: string, make: () => Promise<TimedLayer>): Promise<TimedLayer> {
    const { shared } = this.#options;
    const result = shared?.get(key) ?? make();
    shared?.set(key, result);
    return result;
  }

  async #known(
    key: string,
    stageName: string | undefined,
    output: StepOutput,
  ): Promise<TimedLayer | undefined> {
    if (!this.#options.useCache(stageName)) return undefined;
    const { cache, layers } = this.#parts;
    const own = cache.get(key);
    // a key without its layer is no hit
    const known = own && (await layers.content.has(own.layer.descriptor)) ? own : undefined;
    if (known) {
      cache.use(key);
      output.cached();
      return timed(known.layer, known.createdAt);
    }
    const imported = this.#imported.get(key);
    await imported?.fetch?.(this.#options.signal);
    if (imported) output.cached();
    return imported && timed(imported, imported.createdAt);
  }

  async #make(key: string, instruction: Instruction, work: () => Promise<NewLayer>): Promise<TimedLayer> {
    const { descriptor, diffId } = await work();
    const about = { description: describe(instruction), createdAt: new Date() };
    this.#parts.cache.put(key, { descriptor, diffId }, about);
    return timed({ descriptor, diffId }, about.createdAt);
  }

  /** The stage with a layer on top, unpacked: the next step may need it. */
  async onTop(
    state: StageState,
    layer: KeyedLayer,
    instruction: Instruction | undefined,
    output?: StepOutput,
  ): Promise<StageState> {
    const { snapshots } = this.#parts.layers;
    const created = layer.created ?? state.created;
    const told = (next: StageState, empty: boolean): StageState =>
      instruction ? withHistory(next, instruction, this.timeOf(next), empty) : next;
    if (isEmptyLayer(layer.diffId)) return told({ ...state, created }, true);
    const { descriptor, diffId, key } = layer;
    const layers = [...state.layers, { descriptor, diffId }];
    const chain = await chainIds(layers.map(({ diffId }) => diffId));
    const chainId = chain.at(-1)!;
    this.#options.hold([descriptor.digest, chainId]);
    const { signal } = this.#options;
    if (!(await snapshots.stat(chainId, { signal }))) {
      const onProgress = (): void => undefined;
      await this.#parts.layers.unpackLayer({ ...layer, chainId }, chain.at(-2), { signal, onProgress });
    }
    output?.made(chainId);
    const made = key === undefined ? state.made : [...state.made, { key, diffId }];
    return told({ ...state, layers, chain, made, created }, false);
  }

  /**
   * The time of an image, and of a step that changes what is known of it alone. It is that of what it is made of, so that
   * the same build gives the same image again: whoever looks at ids sees that nothing has changed.
   */
  timeOf({ created }: StageState): string {
    const { epochNs } = this.#options;
    return epochNs === undefined ? (created ?? formatTime(0n)) : formatTime(epochNs);
  }
}

function timed({ descriptor, diffId }: NewLayer, createdAt: Date | undefined): TimedLayer {
  const created = createdAt && formatTime(BigInt(createdAt.getTime()) * 1_000_000n);
  return { descriptor, diffId, created };
}
