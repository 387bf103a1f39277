/** An image service on real content and real rows; snapshots are a record of what would be on disk. */
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import {
  chainIds,
  digestOf,
  formatReference,
  MEDIA_TYPES,
  parseReference,
  type Descriptor,
  type Digest,
} from '@tare/image-spec';
import { MemoryContent } from '@tare/image-spec/content';
import { LayerStoreError } from '@tare/layer-store';
import type { Change, Mount, SnapshotInfo, Snapshotter } from '@tare/layer-store/snapshot';
import { EventBus } from '../../src/events/event-bus.ts';
import type { ImageUser } from '../../src/images/image.ts';
import { Images } from '../../src/images/images.ts';
import { Puller, type LayerUnpacker } from '../../src/images/pull.ts';
import type { RemoteSource } from '../../src/images/remote.ts';
import { StateDb } from '../../src/state/db.ts';
import { ImagesTable, imagesMigrations } from '../../src/state/images-table.ts';

/** The snapshots' contract, kept in memory. */
export class RecordedSnapshots implements Snapshotter {
  readonly infos = new Map<string, SnapshotInfo>();
  readonly sizes = new Map<string, number>();

  prepare(key: string, parent: string | undefined): Promise<Mount[]> {
    this.infos.set(key, { name: key, kind: 'active', parent, createdAt: new Date() });
    return Promise.resolve([]);
  }
  view(key: string, parent: string | undefined): Promise<Mount[]> {
    return this.prepare(key, parent);
  }
  mounts(): Promise<Mount[]> {
    return Promise.resolve([]);
  }
  commit(name: string, key: string): Promise<void> {
    const active = this.infos.get(key)!;
    this.infos.delete(key);
    this.infos.set(name, { ...active, name, kind: 'committed' });
    return Promise.resolve();
  }
  remove(name: string): Promise<void> {
    if ([...this.infos.values()].some(({ parent }) => parent === name)) {
      return Promise.reject(new LayerStoreError('IN_USE', `snapshot ${name} is a parent`));
    }
    this.infos.delete(name);
    return Promise.resolve();
  }
  stat(name: string): Promise<SnapshotInfo | undefined> {
    return Promise.resolve(this.infos.get(name));
  }
  async *list(): AsyncIterable<SnapshotInfo> {
    yield* this.infos.values();
  }
  usage(name: string): Promise<{ sizeBytes: number; inodes: number }> {
    return Promise.resolve({ sizeBytes: this.sizes.get(name) ?? 0, inodes: 1 });
  }
  changes(): AsyncIterable<Change> {
    return Readable.from([]);
  }
  diff(): AsyncIterable<Uint8Array> {
    return Readable.from([]);
  }
  flatten(): AsyncIterable<Uint8Array> {
    return Readable.from([]);
  }
}

/** A registry with one repository per name, made of images put into it. */
export class TestRegistry {
  readonly content = new MemoryContent();
  readonly #tags = new Map<string, Descriptor>();
  /** Blobs whose download waits until it is told to go on. */
  readonly held = new Map<Digest, Promise<void>>();
  fetched: Digest[] = [];

  /** Adds bytes and returns their descriptor. */
  async blob(mediaType: string, bytes: Uint8Array): Promise<Descriptor> {
    const descriptor = { mediaType, digest: await digestOf(bytes), size: bytes.length };
    await this.content.push(
      descriptor,
      (async function* () {
        yield bytes;
      })(),
    );
    return descriptor;
  }

  json(mediaType: string, value: unknown): Promise<Descriptor> {
    return this.blob(mediaType, Buffer.from(JSON.stringify(value)));
  }

  /** Builds an image of `layers` (their texts), and gives it a name. */
  async image(
    name: string,
    layers: readonly string[],
    options: { created?: string; config?: object; platform?: { os: string; architecture: string } } = {},
  ) {
    const diffIds = await Promise.all(layers.map((text) => digestOf(Buffer.from(text))));
    const config = await this.json(MEDIA_TYPES.ociConfig, {
      architecture: 'amd64',
      os: 'linux',
      ...options.platform,
      created: options.created ?? '2024-05-06T07:08:09.5Z',
      config: options.config ?? { Cmd: ['sh'], Labels: { a: 'b' } },
      rootfs: { type: 'layers', diff_ids: diffIds },
      history: [
        ...layers.map((_, i) => ({ created_by: `step ${i}`, created: '2024-05-06T07:08:09Z' })),
        { created_by: 'CMD ["sh"]', empty_layer: true },
      ],
    });
    const blobs = await Promise.all(
      layers.map((text) => this.blob(MEDIA_TYPES.ociLayerGzip, gzipSync(text))),
    );
    const manifest = await this.json(MEDIA_TYPES.ociManifest, {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config,
      layers: blobs,
    });
    this.tag(name, manifest);
    return { id: config.digest, manifest, layers: blobs, chain: await chainIds(diffIds) };
  }

  tag(name: string, descriptor: Descriptor): void {
    this.#tags.set(formatReference(parseReference(name)), descriptor);
  }

  /** Opens one repository, as the registry client would. */
  readonly open = (repository: { registry: string; repository: string }): RemoteSource => ({
    resolve: (target) => {
      const name = `${repository.registry}/${repository.repository}`;
      const byDigest = [...this.#tags.values()].find(({ digest }) => digest === target);
      const found = this.#tags.get(`${name}:${target}`) ?? byDigest;
      if (!found) return Promise.reject(new Error(`manifest ${name}:${target} unknown`));
      return Promise.resolve(found);
    },
    fetch: async (descriptor, options) => {
      this.fetched.push(descriptor.digest);
      const gate = this.held.get(descriptor.digest);
      if (gate) {
        const aborted = Promise.withResolvers<never>();
        options?.signal?.addEventListener('abort', () => aborted.reject(options.signal?.reason as Error));
        await Promise.race([gate, aborted.promise]);
      }
      return this.content.fetch(descriptor, options);
    },
    tags: async function* (this: void) {
      yield* [];
    },
  });

  tagsOf(name: string): string[] {
    return [...this.#tags.keys()]
      .filter((tag) => tag.startsWith(`${name}:`))
      .map((tag) => tag.slice(name.length + 1));
  }
}

/** Everything an image test needs. */
export function makeImages() {
  const db = StateDb.open(':memory:', imagesMigrations);
  const snapshots = new RecordedSnapshots();
  const content = new MemoryContent();
  const events = new EventBus();
  const users: (ImageUser & { imageId: string })[] = [];
  const images = new Images({
    table: new ImagesTable(db),
    content,
    snapshots,
    events,
    users: { usersOf: (id) => users.filter(({ imageId }) => imageId === id) },
  });
  const registry = new TestRegistry();
  const unpacked: Digest[] = [];
  const flights = new Map<Digest, Promise<{ sizeBytes: number }>>();
  const unpacker: LayerUnpacker = {
    unpackLayer(layer, parent, { arrival }) {
      const known = flights.get(layer.chainId);
      if (known) return known;
      const flight = (async () => {
        await arrival;
        // the parent may be under way, as in the real store
        if (parent !== undefined) await flights.get(parent);
        unpacked.push(layer.chainId);
        await snapshots.prepare(`unpack ${layer.chainId}`, parent);
        await snapshots.commit(layer.chainId, `unpack ${layer.chainId}`);
        const sizeBytes = layer.descriptor.size * 10;
        snapshots.sizes.set(layer.chainId, sizeBytes);
        return { sizeBytes };
      })().finally(() => flights.delete(layer.chainId));
      flights.set(layer.chainId, flight);
      return flight;
    },
  };
  const puller = new Puller({ images, openRepository: registry.open, unpacker, maxConcurrentDownloads: 3 });
  return {
    db,
    images,
    snapshots,
    content,
    events,
    users,
    registry,
    unpacked,
    unpacker,
    puller,
    /** Pulls and returns the messages. */
    async pull(name: string, signal = new AbortController().signal) {
      const messages: { status: string; id?: string; progressDetail?: object }[] = [];
      await puller.pull(
        { reference: parseReference(name), platform: { os: 'linux', architecture: 'amd64' } },
        (message) => messages.push(message),
        {
          signal,
        },
      );
      return messages;
    },
    [Symbol.dispose]() {
      db[Symbol.dispose]();
    },
  };
}
