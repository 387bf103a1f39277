/** Images of what is there: of a container, or of a root file system as an archive. */
import {
  familiarReference,
  platformOfProcess,
  type ContainerConfig as ImageDefaults,
  type Digest,
  type History,
  type Platform,
  type Reference,
} from '@tare/image-spec';
import type { LayerArchive } from '@tare/layer-store';

import type { ContainerConfig } from '../containers/create-request.ts';
import { mergeConfig } from '../containers/merge-config.ts';
import type { LiveContainer } from '../containers/store.ts';
import { conflict } from '../errors.ts';
import { createImage, layersOf, withLayer, type NewLayer } from '../images/create.ts';
import type { Images } from '../images/images.ts';
import { canonicalTag } from '../images/names.ts';
import type { LayerUnpacker } from '../images/pull.ts';
import { formatTime, nowNs } from '../time.ts';
import { ENGINE_VERSION } from '../version.ts';
import { applyChanges } from './config-changes.ts';

/** Makes layers' blobs: a part of `LayerStore` of `@tare/layer-store`. */
export interface LayerMaker {
  /**
   * What the snapshot `key` is on its parent, as a blob and as a committed snapshot.
   *
   * @param options.without - paths that are left out
   * @param options.maxMtimeNs - later times of files become this one
   */
  commitLayer(
    key: string,
    options: {
      without?: ReadonlySet<string>;
      maxMtimeNs?: bigint | undefined;
      compression: 'none';
      signal: AbortSignal;
    },
  ): Promise<NewLayer & { chainId: Digest }>;
  /** A layer on `parent`, and its committed snapshot. */
  commitArchive(
    archive: LayerArchive,
    parent: Digest | undefined,
    options: { compression: 'none'; signal: AbortSignal },
  ): Promise<NewLayer>;
  /** An archive of any compression that is known. */
  importLayer(
    archive: AsyncIterable<Uint8Array>,
    options: { compression?: 'none'; signal: AbortSignal },
  ): Promise<NewLayer>;
}

/** What committing needs of the services. */
export interface CommitParts {
  images: Images;
  unpacker: LayerUnpacker;
  layers: LayerMaker;
  containers: {
    find(text: string): LiveContainer;
    holdStill<T>(
      container: LiveContainer,
      options: { pause: boolean },
      work: (snapshot: { key: string; without: ReadonlySet<string> }) => Promise<T>,
    ): Promise<T>;
    publish(container: LiveContainer, action: string, attributes: Record<string, string>): void;
  };
}

/** What `docker commit` asks for. */
export interface CommitRequest {
  container: string;
  /** Name of the image; none when undefined. */
  name: Reference | undefined;
  comment: string;
  author: string;
  /** Pause the container meanwhile, when it runs. */
  pause: boolean;
  /** Instructions of a Dockerfile. */
  changes: readonly string[];
  /** In place of the container's own settings, where it has any. */
  config: ContainerConfig;
}

/** Fields of a container's config that an image has no use for are left out. */
const IMAGE_FIELDS = [
  'User',
  'ExposedPorts',
  'Env',
  'Entrypoint',
  'Cmd',
  'Volumes',
  'WorkingDir',
  'Labels',
  'StopSignal',
  'StopTimeout',
  'Healthcheck',
  'OnBuild',
  'Shell',
] as const satisfies (keyof ContainerConfig)[];

/** Makes an image of a container's image and what the container changed in it. @returns the image's id */
export async function commitContainer(
  parts: CommitParts,
  request: CommitRequest,
  signal: AbortSignal,
): Promise<Digest> {
  const { images, containers } = parts;
  const container = containers.find(request.container);
  const { record, state } = container;
  if (state.removing || state.dead) {
    throw conflict(`You cannot commit container ${record.id} which is being removed`);
  }
  const own = applyChanges(toImageConfig(request.config), request.changes) as ContainerConfig;
  const config = toImageConfig(mergeConfig(own, toImageConfig(record.config)));
  const parent = images.resolve(record.imageId);

  using _lease = images.leases.hold([...parent.chain]);
  const layer = await containers.holdStill(container, { pause: request.pause }, ({ key, without }) =>
    // a push compresses it, if it ever comes to that
    parts.layers.commitLayer(key, { without, compression: 'none', signal }),
  );
  const { layers, empty } = withLayer(await layersOf(images, parent, signal), layer);
  const created = formatTime(nowNs());
  const step: History = {
    created,
    created_by: [...(record.config.Cmd ?? [])].join(' '),
    ...(request.author === '' ? {} : { author: request.author }),
    ...(request.comment === '' ? {} : { comment: request.comment }),
    ...(empty ? { empty_layer: true } : {}),
  };
  const { architecture, os, variant, history = [], author } = parent.config;
  const by = request.author || author;
  const id = await createImage(
    images,
    parts.unpacker,
    {
      config: {
        created,
        ...(by ? { author: by } : {}),
        architecture,
        os,
        ...(variant === undefined ? {} : { variant }),
        config,
        history: [...history, step],
        docker_version: ENGINE_VERSION,
      },
      layers,
    },
    signal,
  );
  images.emit('create', id, id, config.Labels ?? {});
  nameImage(images, id, request.name);
  containers.publish(container, 'commit', {
    comment: request.comment,
    imageID: id,
    imageRef: request.name ? familiarReference(request.name) : '',
  });
  return id;
}

/** What `docker import` asks for. */
export interface ImportRequest {
  name: Reference | undefined;
  message: string;
  changes: readonly string[];
  platform: Platform | undefined;
}

/** Makes an image of one layer out of an archive. @returns the image's id */
export async function importImage(
  { images, unpacker, layers: maker }: Pick<CommitParts, 'images' | 'unpacker' | 'layers'>,
  archive: AsyncIterable<Uint8Array>,
  request: ImportRequest,
  signal: AbortSignal,
): Promise<Digest> {
  const config = applyChanges({}, request.changes);
  const layer = await maker.importLayer(archive, { signal });
  const created = formatTime(nowNs());
  const { architecture, os, variant } = request.platform ?? platformOfProcess(process);
  const id = await createImage(
    images,
    unpacker,
    {
      config: {
        created,
        architecture,
        os,
        ...(variant === undefined ? {} : { variant }),
        config,
        history: [{ created, ...(request.message === '' ? {} : { comment: request.message }) }],
        docker_version: ENGINE_VERSION,
      },
      layers: [layer],
    },
    signal,
  );
  images.emit('import', id, id, config.Labels ?? {});
  nameImage(images, id, request.name);
  return id;
}

/** Points a name at an image that was just made. */
export function nameImage(images: Images, id: Digest, name: Reference | undefined): void {
  if (name === undefined) return;
  images.table.putTag(canonicalTag(name), id, new Date());
  images.emit('tag', id, familiarReference(name), images.get(id).config.config?.Labels);
}

function toImageConfig(config: ContainerConfig): ImageDefaults & ContainerConfig {
  return Object.fromEntries(
    IMAGE_FIELDS.flatMap((field) => (config[field] === undefined ? [] : [[field, config[field]]])),
  );
}
