/** File systems that a build takes from elsewhere: images, pulled when they are not here, and stages as directories. */
import { parseReference, withDefaultTag, type Digest, type Platform } from '@tare/image-spec';
import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { EngineError } from '../errors.ts';
import type { Image } from '../images/image.ts';
import type { RegistryAuth } from '../images/remote.ts';
import { DockerfileError } from './dockerfile/errors.ts';
import type { Instruction } from './dockerfile/parser.ts';
import type { BuildParts, StepOutput } from './state.ts';

/** What they are looked for with. */
export interface FileSystemOptions {
  /** Unique to the build. */
  buildId: string;
  platform: Platform;
  /** Ask registries for newer images. */
  pull: boolean;
  /** Credentials for a registry. */
  auth(registry: string): Promise<RegistryAuth | undefined>;
  signal: AbortSignal;
}

/** Images and mounts of one build. Disposing of it lets go of them. */
export class FileSystems implements AsyncDisposable {
  readonly #parts: BuildParts;
  readonly #options: FileSystemOptions;
  /** By chainID. */
  readonly #mounted = new Map<string, Promise<string>>();
  readonly #resources = new AsyncDisposableStack();

  constructor(parts: BuildParts, options: FileSystemOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Keeps content and layers that the build has made or found. */
  hold(keys: readonly string[]): void {
    const lease = this.#parts.images.leases.hold(keys);
    this.#resources.defer(() => lease[Symbol.dispose]());
  }

  /** The image of a FROM or --from: here, or pulled. It stays for as long as the build. */
  async image(
    text: string,
    platform: string | undefined,
    place: Instruction,
    output: StepOutput,
  ): Promise<Image> {
    const { images, puller } = this.#parts;
    const here = (): Image | undefined => {
      try {
        return images.resolve(text);
      } catch (error) {
        if (error instanceof EngineError && error.code === 'NOT_FOUND') return undefined;
        throw new DockerfileError((error as Error).message, place, { cause: error });
      }
    };
    let image = this.#options.pull ? undefined : here();
    if (!image) {
      const reference = withDefaultTag(parseReference(text));
      const auth = await this.#options.auth(reference.registry);
      await puller.pull(
        { reference, auth, ...(platform === undefined ? {} : { platform: this.#options.platform }) },
        ({ id, status, progressDetail }) => {
          const done = /complete|exists/.test(status);
          if (id === undefined || done) output.say(id === undefined ? status : `${id}: ${status}`);
          if (id === undefined) return;
          const { current = 0, total } = progressDetail ?? {};
          output.progress(id, { current, total, done });
        },
        { signal: this.#options.signal },
      );
      image = here();
    }
    if (!image) throw new DockerfileError(`${text} is gone again`, place);
    this.hold([image.id, ...image.chain]);
    return image;
  }

  /** Mounts a file system below the builder's directory until the build ends. */
  mount(chainId: Digest | undefined): Promise<string> {
    const key = chainId ?? 'scratch';
    let mounted = this.#mounted.get(key);
    if (!mounted) {
      mounted = this.#mountNow(chainId);
      this.#mounted.set(key, mounted);
    }
    return mounted;
  }

  async #mountNow(chainId: Digest | undefined): Promise<string> {
    const { images, trees, directory } = this.#parts;
    const name = createHash('sha256').update(`${this.#options.buildId} ${chainId}`).digest('hex');
    const path = join(directory, 'mounts', name);
    await mkdir(path, { recursive: true, mode: 0o700 });
    this.#resources.defer(() => rm(path, { recursive: true, force: true }));
    const mounts = await images.snapshots.view(name, chainId);
    this.#resources.defer(() => images.snapshots.remove(name));
    const mounted = trees.mount(mounts, path);
    this.#resources.defer(() => mounted[Symbol.dispose]());
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#mounted.values());
    await this.#resources.disposeAsync();
  }
}
