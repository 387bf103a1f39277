/** One image out of a place: its documents, its layers, and other images made of it. */
import { createHash } from 'node:crypto';
import {
  MAX_DOCUMENT_BYTES,
  MEDIA_TYPES,
  digestOf,
  imageLayers,
  isIndexType,
  parseImageConfig,
  parseImageIndex,
  parseManifestDocument,
  selectManifest,
  toDockerMediaType,
  toOciMediaType,
  validateDocument,
  isConfigType,
  type Descriptor,
  type Platform,
} from '@tare/image-spec';
import { readBytes, type ContentSink, type ContentSource, type ReadImage } from '@tare/image-spec/content';
import { decompress, type CreatedLayer } from '@tare/layer-store';

/** The bytes of a document. */
export async function documentOf(source: ContentSource, descriptor: Descriptor): Promise<Uint8Array> {
  return readBytes(await source.fetch(descriptor), MAX_DOCUMENT_BYTES);
}

/** The manifest of `platform` where `descriptor` is an index; else itself. */
export async function manifestFor(
  source: ContentSource,
  descriptor: Descriptor,
  platform: Platform,
): Promise<Descriptor> {
  if (!isIndexType(descriptor.mediaType)) return descriptor;
  return selectManifest(parseImageIndex(await documentOf(source, descriptor), descriptor), platform);
}

/** What becomes different. */
export interface Change {
  /** On top of the others; their blobs are in the store. */
  layers?: readonly CreatedLayer[];
  config?: (config: Record<string, unknown>) => void;
  annotations?: Readonly<Record<string, string>>;
  /** What the history says of it. */
  createdBy: string;
}

/** Writes the documents of a changed image to `store`. Keys that nobody here knows stay as they are. */
export async function changeImage(image: ReadImage, change: Change, store: ContentSink): Promise<Descriptor> {
  const { layers = [], annotations } = change;
  const config = parse(image.configBytes);
  const rootfs = config['rootfs'] as { diff_ids: string[] };
  rootfs.diff_ids.push(...layers.map(({ diffId }) => diffId));
  const step = { created: new Date().toISOString(), created_by: change.createdBy };
  const steps = layers.length === 0 ? [{ ...step, empty_layer: true }] : layers.map(() => step);
  config['history'] = [...((config['history'] as unknown[] | undefined) ?? []), ...steps];
  const run = (config['config'] ??= {}) as Record<string, unknown>;
  change.config?.(run);

  const manifest = parse(image.manifestBytes);
  const docker = image.descriptor.mediaType === MEDIA_TYPES.dockerManifest;
  manifest['config'] = {
    ...image.manifest.config,
    ...(await put(store, image.manifest.config.mediaType, config)),
  };
  (manifest['layers'] as Descriptor[]).push(
    ...layers.map(({ descriptor }) =>
      docker ? { ...descriptor, mediaType: toDockerMediaType(descriptor.mediaType) } : descriptor,
    ),
  );
  if (annotations)
    manifest['annotations'] = { ...(manifest['annotations'] as object | undefined), ...annotations };
  return put(store, image.descriptor.mediaType, manifest);
}

function parse(bytes: Uint8Array): Record<string, unknown> {
  return JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
}

async function put(store: ContentSink, mediaType: string, document: object): Promise<Descriptor> {
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  const descriptor = { mediaType, digest: await digestOf(bytes), size: bytes.byteLength };
  await store.push(descriptor, (async function* () { yield bytes; })()); // prettier-ignore
  return descriptor;
}

/** Writes the documents of an image, or of all of an index, with OCI's media types in place of Docker's. */
export async function toOci(
  source: ContentSource,
  descriptor: Descriptor,
  store: ContentSink,
): Promise<Descriptor> {
  const bytes = await documentOf(source, descriptor);
  const renamed = (each: Descriptor): Descriptor => ({ ...each, mediaType: toOciMediaType(each.mediaType) });
  const document = parseManifestDocument(bytes, descriptor);
  const changed: Record<string, unknown> = {
    ...parse(bytes),
    mediaType: toOciMediaType(descriptor.mediaType),
  };
  if (document.kind === 'index') {
    const manifests = [];
    for (const entry of document.index.manifests)
      manifests.push({ ...entry, ...(await toOci(source, entry, store)) });
    changed['manifests'] = manifests;
  } else {
    changed['config'] = renamed(document.manifest.config);
    changed['layers'] = document.manifest.layers.map(renamed);
  }
  return put(store, toOciMediaType(descriptor.mediaType), changed);
}

/** Everything that is wrong with an image and all below it: documents, digests, sizes, and what layers unpack to. */
export async function* validate(
  source: ContentSource,
  root: Descriptor,
): AsyncGenerator<string, void, undefined> {
  const bytes = await documentOf(source, root);
  yield* violations(bytes, root);
  const document = parseManifestDocument(bytes, root);
  if (document.kind === 'index') {
    for (const entry of document.index.manifests) yield* validate(source, entry);
    return;
  }
  const { config, layers } = document.manifest;
  if (!isConfigType(config.mediaType)) {
    for (const blob of [config, ...layers]) yield* failure(blob, async () => drain(await source.fetch(blob)));
    return;
  }
  const configBytes = await documentOf(source, config);
  yield* violations(configBytes, config);
  for (const { descriptor, diffId } of await imageLayers(
    document.manifest,
    parseImageConfig(configBytes, config),
  )) {
    yield* failure(descriptor, async () => {
      const hash = createHash('sha256');
      for await (const chunk of decompress(await source.fetch(descriptor))) hash.update(chunk);
      const actual = `sha256:${hash.digest('hex')}`;
      if (actual !== diffId) throw new Error(`its archive is ${actual}, not the diffID ${diffId}`);
    });
  }
}

async function* violations(
  bytes: Uint8Array,
  { mediaType, digest }: Descriptor,
): AsyncGenerator<string, void, undefined> {
  for (const { path, message } of await validateDocument(bytes, mediaType))
    yield `${digest}: ${path}: ${message}`;
}

async function* failure(
  { digest }: Descriptor,
  check: () => Promise<void>,
): AsyncGenerator<string, void, undefined> {
  try {
    await check();
  } catch (error) {
    yield `${digest}: ${(error as Error).message}`;
  }
}

async function drain(content: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of content);
}
