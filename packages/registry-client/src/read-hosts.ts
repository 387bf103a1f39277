/** Whom a repository is read from: its mirrors in order, and the registry itself when none has what is wanted. */
import { ContainerError } from '@tare/image-spec';
import type { RegistryHost } from './registry-host.ts';

/** A mirror that gave no answer, or wrong bytes, is not asked again for this long. In milliseconds. */
const MIRROR_PAUSE_MS = 30_000;

/** A registry and the mirrors before it. */
export class ReadHosts {
  readonly #origin: RegistryHost;
  readonly #mirrors: readonly RegistryHost[];
  /** Not asked before this time, of `performance.now()`. */
  readonly #paused = new Map<RegistryHost, number>();

  constructor(origin: RegistryHost, mirrors: readonly RegistryHost[]) {
    this.#origin = origin;
    this.#mirrors = mirrors;
  }

  /** Asks the mirrors in order, then the registry. What the registry says is what the caller hears. */
  async read<T>(ask: (host: RegistryHost) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    for (const mirror of this.#mirrors) {
      if ((this.#paused.get(mirror) ?? 0) > performance.now()) continue;
      try {
        return await ask(mirror);
      } catch (error) {
        signal?.throwIfAborted();
        // whatever is wrong with a mirror, the registry itself may do better
        if (!ContainerError.is(error)) throw error;
        if (error.code === 'UNREACHABLE') this.pause(mirror);
      }
    }
    return ask(this.#origin);
  }

  /** Leaves a mirror alone for a while; false when `host` is none. */
  pause(host: RegistryHost): boolean {
    if (host === this.#origin) return false;
    this.#paused.set(host, performance.now() + MIRROR_PAUSE_MS);
    return true;
  }
}
