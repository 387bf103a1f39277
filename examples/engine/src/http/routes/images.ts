/** `/images`: parse, call, render. */
import type { Filters } from '../../filters.ts';
import type { Image } from '../../images/image.ts';
import { imageHistory } from '../../images/history.ts';
import type { Images } from '../../images/images.ts';
import { createdMs, IMAGE_FILTERS, listImages } from '../../images/list.ts';
import { PRUNE_FILTERS, pruneImages } from '../../images/prune.ts';
import { removeImage } from '../../images/remove.ts';
import { tagImage } from '../../images/tag.ts';
import { layerUsers, sharedSize } from '../../system/disk-usage.ts';
import { formatTime, parseTimestamp, ZERO_TIME } from '../../time.ts';
import type { RequestContext } from '../context.ts';
import type { Route } from '../route.ts';
import { ofPlatform, platformOf, platformParameter } from '../platform-parameter.ts';
import { invalid } from '../../errors.ts';

/** What the image end-points need of the engine. */
export interface ImageRoutesOptions {
  images: Images;
  /** Name of the storage driver, shown by inspect. */
  storageDriver: string;
}

/** The image end-points. */
export function imageRoutes({ images, storageDriver }: ImageRoutesOptions): Route[] {
  return [
    {
      method: 'GET',
      path: '/images/json',
      handler: (context) => {
        const filters = listFilters(context);
        const sharedSizes =
          context.speaks('1.42') && context.query.bool('shared-size')
            ? layerUsers(images.all().map(({ chain }) => chain))
            : undefined;
        const list = listImages(images, filters);
        context.json(
          200,
          list.map((image) => renderSummary(images, image, context, sharedSizes)),
        );
      },
    },
    {
      method: 'POST',
      path: '/images/prune',
      job: 'image.prune',
      handler: async (context) => {
        const filters = context.query.filters(PRUNE_FILTERS);
        const { removed, reclaimedBytes } = await pruneImages(images, filters, context.job.signal);
        context.json(200, {
          ImagesDeleted: removed.length > 0 ? removed : null,
          SpaceReclaimed: reclaimedBytes,
        });
      },
    },
    {
      method: 'GET',
      path: '/images/:name*/json',
      handler: (context) => {
        const { query } = context;
        const platform = platformOf(context, '1.49');
        if (platform && context.speaks('1.48') && query.bool('manifests')) {
          throw invalid('conflicting options: manifests and platform options cannot both be set');
        }
        const image = ofPlatform(images.resolve(context.param('name')), platform, context.param('name'));
        context.json(200, renderInspect(image, storageDriver, context));
      },
    },
    {
      method: 'GET',
      path: '/images/:name*/history',
      handler: (context) => {
        const name = context.param('name');
        const image = ofPlatform(images.resolve(name), platformOf(context, '1.48'), name);
        const entries = imageHistory(images, image).map((entry) => ({
          Id: entry.id,
          Created: entry.createdS,
          CreatedBy: entry.createdBy,
          Tags: entry.tags,
          Size: entry.sizeBytes,
          Comment: entry.comment,
        }));
        context.json(200, entries);
      },
    },
    {
      method: 'POST',
      path: '/images/:name*/tag',
      job: 'image.tag',
      handler: (context) => {
        const { query } = context;
        tagImage(images, context.param('name'), query.get('repo') ?? '', query.get('tag') ?? '');
        context.empty(201);
      },
    },
    {
      method: 'DELETE',
      path: '/images/:name*',
      job: 'image.remove',
      handler: async (context) => {
        const force = context.query.bool('force');
        const platforms = context.speaks('1.50') ? context.query.getAll('platforms') : [];
        if (platforms.length > 1) throw invalid('multiple platforms are not supported');
        const name = context.param('name');
        ofPlatform(images.resolve(name), platformParameter(platforms[0]), name);
        context.json(200, await removeImage(images, context.param('name'), { force }));
      },
    },
  ];
}

function listFilters(context: RequestContext): Filters {
  const filters = context.query.filters(IMAGE_FILTERS);
  const old = context.query.get('filter') ?? '';
  // a parameter of old
  return old !== '' && !context.speaks('1.41') && !filters.has('reference')
    ? filters.with('reference', [old])
    : filters;
}

function renderSummary(
  images: Images,
  image: Image,
  context: RequestContext,
  sharedWith: Map<string, number> | undefined,
): Record<string, unknown> {
  const placeholders = !context.speaks('1.43') && image.repoTags.length + image.repoDigests.length === 0;
  return {
    Containers: context.speaks('1.51') ? images.users.usersOf(image.id).length : -1,
    Created: Math.floor(createdMs(image) / 1000),
    Id: image.id,
    Labels: image.config.config?.Labels ?? null,
    ParentId: '',
    RepoDigests: placeholders ? ['<none>@<none>'] : image.repoDigests,
    RepoTags: placeholders ? ['<none>:<none>'] : image.repoTags,
    SharedSize: sharedWith ? sharedSize(image.chain, sharedWith, images.table.layerSizes()) : -1,
    Size: image.sizeBytes,
    ...(context.speaks('1.44') ? {} : { VirtualSize: image.sizeBytes }),
  };
}

/** Fields of the config that are printed even when the image does not have them. */
const CONFIG_DEFAULTS = {
  Cmd: null,
  Entrypoint: null,
  Env: null,
  Labels: null,
  OnBuild: null,
  User: '',
  Volumes: null,
  WorkingDir: '',
};
/** Container fields that the config of an image had below API 1.50. */
const LEGACY_CONFIG_DEFAULTS = {
  AttachStderr: false,
  AttachStdin: false,
  AttachStdout: false,
  Domainname: '',
  Hostname: '',
  Image: '',
  OpenStdin: false,
  StdinOnce: false,
  Tty: false,
};

function renderInspect(
  image: Image,
  storageDriver: string,
  context: RequestContext,
): Record<string, unknown> {
  const { config } = image;
  const legacy = !context.speaks('1.50');
  const own = Object.fromEntries(
    Object.entries(config.config ?? {}).filter(
      ([key, value]) => value !== undefined && (legacy || !Object.hasOwn(LEGACY_CONFIG_DEFAULTS, key)),
    ),
  );
  const created = config.created === undefined ? undefined : parseTimestamp(config.created);
  return {
    Id: image.id,
    RepoTags: image.repoTags,
    RepoDigests: image.repoDigests,
    Parent: '',
    Comment: config.history?.at(-1)?.comment ?? '',
    ...(created === undefined
      ? context.speaks('1.44')
        ? {}
        : { Created: ZERO_TIME }
      : { Created: formatTime(created) }),
    ...(context.speaks('1.45') ? {} : { Container: '', ContainerConfig: null }),
    DockerVersion: config.docker_version ?? '',
    Author: config.author ?? '',
    Config: { ...CONFIG_DEFAULTS, ...(legacy ? LEGACY_CONFIG_DEFAULTS : {}), ...own },
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    ...(config['os.version'] === undefined ? {} : { OsVersion: config['os.version'] }),
    Size: image.sizeBytes,
    ...(context.speaks('1.44') ? {} : { VirtualSize: image.sizeBytes }),
    GraphDriver: { Data: null, Name: storageDriver },
    RootFS: { Type: 'layers', Layers: config.rootfs.diff_ids },
    Metadata: { LastTagTime: formatTime(image.taggedAt) },
  };
}
