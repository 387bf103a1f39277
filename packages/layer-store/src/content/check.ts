/** Looks through a content store for damage, and mends it from where the content came from. */
import { ContainerError, type Descriptor, type Digest } from '@tare/image-spec';
import type { ContentSource, ContentStore } from '@tare/image-spec/content';

/** What became of one blob. */
export interface CheckedBlob {
  digest: Digest;
  /** Bytes on the disk. */
  size: number;
  /**
   * `damaged`: it is not what its name says, and is left as it is. `repaired`: it was, and has been fetched again.
   * `removed`: it was, and no source had it; whoever wants it next will fetch it.
   */
  state: 'ok' | 'damaged' | 'repaired' | 'removed';
  /** Why it could not be had again. */
  cause?: unknown;
}

/** Options of {@link checkContent}. */
export interface CheckOptions {
  /**
   * What to do about damage: nothing (default), or fetch it again. Several sources are asked in turn; a damaged blob that
   * none has is removed, because a missing one is fetched by the next pull and a damaged one is not.
   */
  repairFrom?: readonly ContentSource[];
  /** The descriptor to ask sources with; their media type tells registries blobs from manifests. Default: as of a blob. */
  describe?: (digest: Digest) => Descriptor | undefined;
  signal?: AbortSignal;
}

/**
 * Reads every blob of `content` to its end, and tells of each.
 *
 * Runs beside readers and writers. With `repairFrom` a reader of a damaged blob may find it missing for a moment.
 */
export async function* checkContent(
  content: ContentStore,
  options: CheckOptions = {},
): AsyncGenerator<CheckedBlob, void, undefined> {
  const { signal, repairFrom } = options;
  const signalOption = signal === undefined ? {} : { signal };
  for await (const { digest, size } of content.list(signalOption)) {
    const descriptor = { mediaType: 'application/octet-stream', digest, size };
    const whole = await isWhole(content, descriptor, signalOption);
    if (whole === undefined) continue;
    if (whole) yield { digest, size, state: 'ok' };
    else if (repairFrom === undefined) yield { digest, size, state: 'damaged' };
    else {
      const wanted = options.describe?.(digest) ?? descriptor;
      yield { digest, size, ...(await repair(content, wanted, repairFrom, signalOption)) };
    }
  }
}

/** Undefined when it has been deleted meanwhile. */
async function isWhole(
  content: ContentStore,
  descriptor: Descriptor,
  signalOption: { signal?: AbortSignal },
): Promise<boolean | undefined> {
  try {
    for await (const _ of await content.fetch(descriptor, signalOption)) continue;
    return true;
  } catch (error) {
    signalOption.signal?.throwIfAborted();
    if (!ContainerError.is(error)) throw error;
    if (error.code === 'NOT_FOUND') return undefined;
    if (error.code === 'DIGEST_MISMATCH' || error.code === 'SIZE_MISMATCH') return false;
    throw error;
  }
}

async function repair(
  content: ContentStore,
  descriptor: Descriptor,
  sources: readonly ContentSource[],
  signalOption: { signal?: AbortSignal },
): Promise<Pick<CheckedBlob, 'state' | 'cause'>> {
  await content.delete(descriptor.digest, signalOption);
  let cause: unknown;
  for (const source of sources) {
    try {
      await content.push(descriptor, await source.fetch(descriptor, signalOption), signalOption);
      return { state: 'repaired' };
    } catch (error) {
      signalOption.signal?.throwIfAborted();
      cause = error;
    }
  }
  return { state: 'removed', cause };
}
