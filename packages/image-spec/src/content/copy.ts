/** The one verb over content: copy an image, or any graph of content, from a source to a sink. */
import type { Descriptor } from '../descriptor.ts';
import type { Digest } from '../digest.ts';
import { MAX_DOCUMENT_BYTES } from '../document.ts';
import { ContainerError, ImageSpecError } from '../errors.ts';
import type { ImageIndex } from '../image-index.ts';
import { parseManifestDocument } from '../manifest.ts';
import { isForeignLayerType, isIndexType, isManifestType } from '../media-types.ts';
import type { ContentOptions, ContentSink, ContentSource, OpenContent, ResumableSink } from './content.ts';
import { readBytes } from './verify.ts';

/** What happens to one piece of content during {@link copyGraph}. */
export interface CopyEvent {
  /**
   * `start`: its bytes begin to move. `done`: it is in the sink now. `exists`: it was there, or the sink took it from
   * elsewhere, and nothing moved.
   * `foreign`: a layer that registries do not hold, left out.
   */
  kind: 'start' | 'done' | 'exists' | 'foreign';
  descriptor: Descriptor;
}

/** Options of {@link copyGraph}. */
export interface CopyOptions extends ContentOptions {
  /** Blobs copied at once. Default 3, as Docker's. */
  concurrency?: number;
  /**
   * Which entries of an index to follow; default all. What is left out is not copied, while the index itself is:
   * right for a local store, not for a registry, which refuses an index with missing entries.
   */
  select?: (index: ImageIndex, descriptor: Descriptor) => readonly Descriptor[];
  /** Told of every piece once per kind. Errors it throws end the copy. */
  onEvent?: (event: CopyEvent) => void;
}

/** Indexes inside indexes are followed this deep. Real ones have depth 1; a chain without end must stop. */
const MAX_DEPTH = 8;
/** Most pieces of content in one graph, so that a hostile index cannot fill the memory. */
const MAX_NODES = 10_000;
/** A blob whose bytes are wrong is asked for again while its source knows another copy, but not for ever. */
const MAX_TRIES = 5;
const WRONG_CONTENT: readonly string[] = ['DIGEST_MISMATCH', 'SIZE_MISMATCH'];

/**
 * Copies `root` and everything it refers to, children before parents: when a manifest becomes visible in the sink, all
 * its content is there.
 *
 * What the sink has already is not moved again, but manifests are still walked, so a graph that was copied in part
 * before becomes whole. A sink that can ({@link "content".ResumableSink}) gets only the rest of blobs it has in part. The first failure stops everything that is under way and is what the call rejects with.
 *
 * @throws {ContainerError} what source and sink throw; `INVALID_DOCUMENT` for documents that cannot be parsed and for
 *   graphs beyond the limits (depth 8, 10,000 pieces)
 */
export async function copyGraph(
  source: ContentSource,
  sink: ContentSink,
  root: Descriptor,
  options: CopyOptions = {},
): Promise<void> {
  options.signal?.throwIfAborted();
  const failure = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failure.signal]) : failure.signal;
  try {
    await new GraphCopy(source, sink, options, signal, failure).node(root, 0);
  } catch (error) {
    // what failed first, not what failed because of it
    throw signal.aborted ? signal.reason : error;
  }
}

class GraphCopy {
  readonly #source: ContentSource;
  readonly #sink: ContentSink;
  readonly #options: CopyOptions;
  readonly #signal: AbortSignal;
  readonly #failure: AbortController;
  /** Every piece once: the same layer twice in a graph is one copy that both wait for. */
  readonly #nodes = new Map<Digest, Promise<void>>();
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(
    source: ContentSource,
    sink: ContentSink,
    options: CopyOptions,
    signal: AbortSignal,
    failure: AbortController,
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#options = options;
    this.#signal = signal;
    this.#failure = failure;
    this.#free = Math.max(1, options.concurrency ?? 3);
  }

  node(descriptor: Descriptor, depth: number): Promise<void> {
    const known = this.#nodes.get(descriptor.digest);
    if (known !== undefined) return known;
    const copied = this.#copyNode(descriptor, depth).catch((error: unknown) => {
      this.#failure.abort(error);
      throw error;
    });
    this.#nodes.set(descriptor.digest, copied);
    return copied;
  }

  async #copyNode(descriptor: Descriptor, depth: number): Promise<void> {
    if (depth > MAX_DEPTH || this.#nodes.size >= MAX_NODES) {
      throw new ImageSpecError(
        'INVALID_DOCUMENT',
        `${descriptor.digest} is part of a graph deeper than ${MAX_DEPTH} or larger than ${MAX_NODES} pieces`,
      );
    }
    if (isForeignLayerType(descriptor.mediaType)) return this.#tell('foreign', descriptor);
    if (!isManifestType(descriptor.mediaType) && !isIndexType(descriptor.mediaType)) {
      return this.#limited(() => this.#copyBlob(descriptor));
    }
    const exists = await this.#sink.has(descriptor, { signal: this.#signal });
    const bytes = await this.#readDocument(descriptor, exists);
    await this.#all(this.#children(bytes, descriptor).map((child) => this.node(child, depth + 1)));
    if (exists) return this.#tell('exists', descriptor);
    this.#tell('start', descriptor);
    await this.#sink.push(descriptor, once(bytes), { signal: this.#signal });
    this.#tell('done', descriptor);
  }

  #children(bytes: Uint8Array, descriptor: Descriptor): readonly Descriptor[] {
    const document = parseManifestDocument(bytes, descriptor);
    if (document.kind === 'manifest') return [document.manifest.config, ...document.manifest.layers];
    return this.#options.select?.(document.index, descriptor) ?? document.index.manifests;
  }

  async #copyBlob(descriptor: Descriptor): Promise<void> {
    const sink = this.#sink;
    if (!isResumable(sink) && (await sink.has(descriptor, { signal: this.#signal }))) {
      return this.#tell('exists', descriptor);
    }
    /** Where the content was opened last; undefined while it was not. */
    let opened: number | undefined;
    const open: OpenContent = (offset) => {
      if (opened === undefined) this.#tell('start', descriptor);
      opened = offset;
      return this.#source.fetch(descriptor, { signal: this.#signal, offset });
    };
    for (let tries = 1; ; tries++) {
      try {
        if (isResumable(sink)) await sink.pushFrom(descriptor, open, { signal: this.#signal });
        else await sink.push(descriptor, await open(0), { signal: this.#signal });
        return this.#tell(opened === undefined ? 'exists' : 'done', descriptor);
      } catch (error) {
        const wrong = ContainerError.is(error) && WRONG_CONTENT.includes(error.code);
        // what the sink had kept may have been the wrong part, and is gone now; or there is another copy to be had
        const mended = wrong && ((opened ?? 0) > 0 || ('fetchAgain' in error && error.fetchAgain === true));
        if (!mended || tries === MAX_TRIES) throw error;
      }
    }
  }

  /** From the sink when it has it and can be read: that saves asking a registry for what lies at hand. */
  async #readDocument(descriptor: Descriptor, inSink: boolean): Promise<Uint8Array> {
    const from = inSink && isSource(this.#sink) ? this.#sink : this.#source;
    if (descriptor.size > MAX_DOCUMENT_BYTES) {
      throw new ImageSpecError(
        'TOO_LARGE',
        `manifest ${descriptor.digest} has ${descriptor.size} bytes; at most ${MAX_DOCUMENT_BYTES} are read`,
      );
    }
    return readBytes(await from.fetch(descriptor, { signal: this.#signal }), MAX_DOCUMENT_BYTES);
  }

  /** Waits for all, also after one failed, so that nothing is under way any more when the copy rejects. */
  async #all(work: readonly Promise<void>[]): Promise<void> {
    await Promise.allSettled(work);
    await Promise.all(work);
  }

  async #limited(work: () => Promise<void>): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      this.#signal.throwIfAborted();
      await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }

  #tell(kind: CopyEvent['kind'], descriptor: Descriptor): void {
    this.#options.onEvent?.({ kind, descriptor });
  }
}

function isSource(sink: ContentSink): sink is ContentSink & ContentSource {
  return 'fetch' in sink && typeof sink.fetch === 'function';
}

function isResumable(sink: ContentSink): sink is ResumableSink {
  return 'pushFrom' in sink && typeof sink.pushFrom === 'function';
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
