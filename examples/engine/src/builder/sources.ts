/** Where a build's files come from: images, stages, the client's directories; and file systems of them to look into. */
import { parsePlatform, type Digest, type Platform } from '@tare/image-spec';
import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { EngineError } from '../errors.ts';
import { platformMismatch, shortWarning } from './checks.ts';
import { StepError, type Place } from './dockerfile/errors.ts';
import { lintRule } from './dockerfile/lint-rules.ts';
import { asStep, transfer, type BuildOutput, type StepOutput } from './output.ts';
import type { BuildRequest, ContextFiles, NamedContext } from './request.ts';
import type { BaseImage, SolverParts } from './seams.ts';

/** Where files are copied or mounted from. */
export type Source = { kind: 'files'; files: ContextFiles } | { kind: 'stage'; chainId: Digest | undefined };

/** What they are looked for with. */
export interface SourcesOptions {
  /** Unique to the build. */
  buildId: string;
  request: BuildRequest;
  platform: Platform;
  output: BuildOutput;
  signal: AbortSignal;
}

/** Sources of one build. Disposing of it lets go of them. */
export class Sources implements AsyncDisposable {
  readonly #parts: SolverParts;
  readonly #options: SourcesOptions;
  readonly #images = new Map<string, Promise<BaseImage>>();
  /** By chainID. */
  readonly #mounted = new Map<string, Promise<string>>();
  readonly #resources = new AsyncDisposableStack();

  constructor(parts: SolverParts, options: SourcesOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Keeps content and layers that the build has made or found. */
  hold(keys: readonly string[]): void {
    const lease = this.#parts.leases.hold(keys);
    this.#resources.defer(() => lease[Symbol.dispose]());
  }

  /** What the client put in the place of a name; undefined for nothing. */
  named(name: string | undefined): NamedContext | undefined {
    const { contexts } = this.#options.request;
    if (contexts === undefined || name === undefined) return undefined;
    return contexts.get(name) ?? contexts.get(name.toLowerCase());
  }

  /** The client's own files. */
  context(): Promise<ContextFiles> {
    return this.#options.request.context();
  }

  /**
   * The image of a FROM, here or pulled. It stays for as long as the build.
   *
   * @param platform - of the FROM; default: the build's
   */
  async base(
    reference: string,
    platform: string | undefined,
    place: Place,
    output: StepOutput,
  ): Promise<BaseImage> {
    const wanted = platform === undefined ? this.#options.platform : parsePlatform(platform);
    const image = await this.#find(reference, wanted, place, output);
    const detail = platformMismatch(reference, image.config, wanted);
    if (detail !== undefined) {
      const warning = { rule: lintRule('InvalidBaseImagePlatform'), detail, place };
      this.#options.output.warn(shortWarning(warning), warning);
    }
    return image;
  }

  /** The image of a `--from`. Instructions that name the same one wait for it together. */
  image(reference: string, place: Place): Promise<BaseImage> {
    let image = this.#images.get(reference);
    if (!image) {
      const { output, platform } = this.#options;
      image = asStep(output, transfer(`image ${reference}`, `FROM ${reference}`), (told) =>
        this.#find(reference, platform, place, told),
      );
      this.#images.set(reference, image);
    }
    return image;
  }

  async #find(reference: string, platform: Platform, place: Place, output: StepOutput): Promise<BaseImage> {
    const { request, signal } = this.#options;
    const pull = request.pull ? 'always' : 'missing';
    const auth = (registry: string) => request.auth(registry);
    let image: BaseImage;
    try {
      image = await this.#parts.bases.find(reference, { platform, pull, auth, output, signal });
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof EngineError || (error as Error).name === 'ImageSpecError') {
        throw new StepError((error as Error).message, place, { cause: error });
      }
      throw error;
    }
    this.hold([image.id, ...image.chain]);
    return image;
  }

  /** A path of the host that leads into a source. A stage is mounted below the builder's directory until the build ends. */
  path(source: Source): Promise<string> {
    if (source.kind === 'files') return source.files.directory();
    const { chainId } = source;
    const key = chainId ?? 'scratch';
    let mounted = this.#mounted.get(key);
    if (!mounted) {
      mounted = this.#mount(chainId);
      this.#mounted.set(key, mounted);
    }
    return mounted;
  }

  async #mount(chainId: Digest | undefined): Promise<string> {
    const { layers, trees, directory } = this.#parts;
    const name = createHash('sha256').update(`${this.#options.buildId} ${chainId}`).digest('hex');
    const path = join(directory, 'mounts', name);
    await mkdir(path, { recursive: true, mode: 0o700 });
    this.#resources.defer(() => rm(path, { recursive: true, force: true }));
    const mounts = await layers.snapshots.view(name, chainId);
    this.#resources.defer(() => layers.snapshots.remove(name));
    const mounted = trees.mount(mounts, path);
    this.#resources.defer(() => mounted[Symbol.dispose]());
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([...this.#mounted.values(), ...this.#images.values()]);
    await this.#resources.disposeAsync();
  }
}
