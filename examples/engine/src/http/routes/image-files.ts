/** Images as archives, and images of what is there: save, load, import, commit. */
import { parsePlatform, type Reference } from '@tare/image-spec';

import {
  commitContainer,
  importImage,
  type CommitParts,
  type ImportRequest,
  type LayerMaker,
} from '../../builder/commit.ts';
import { containerConfigSchema } from '../../containers/create-request.ts';
import { download } from '../../download.ts';
import { invalid } from '../../errors.ts';
import type { Images } from '../../images/images.ts';
import { loadImages, type BlobCreator } from '../../images/load.ts';
import { parseTagParameters } from '../../images/names.ts';
import type { LayerUnpacker } from '../../images/pull.ts';
import { saveImages } from '../../images/save.ts';
import type { RequestContext } from '../context.ts';
import { ofPlatform, platformOf } from '../platform-parameter.ts';
import { replyWithProgress } from '../progress-reply.ts';
import type { Route } from '../route.ts';

/** What these end-points need of the engine. */
export interface ImageFilesOptions {
  images: Images;
  unpacker: LayerUnpacker;
  layers: LayerMaker;
  blobs: BlobCreator;
  containers: CommitParts['containers'];
}

/** The end-points; importing is a part of `POST /images/create`, see {@link importFrom}. */
export function imageFilesRoutes(options: ImageFilesOptions): Route[] {
  const { images } = options;
  return [
    {
      method: 'GET',
      path: '/images/get',
      handler: (context) => save(context, images, context.query.getAll('names')),
    },
    {
      method: 'GET',
      path: '/images/:name*/get',
      handler: (context) => save(context, images, [context.param('name')]),
    },
    {
      method: 'POST',
      path: '/images/load',
      job: 'image.load',
      cancelOnDisconnect: true,
      handler: (context) => {
        const platform = platformOf(context, '1.48');
        return replyWithProgress(context, (onMessage) =>
          loadImages(options, context.bodyStream(), onMessage, {
            quiet: context.query.bool('quiet'),
            signal: context.job.signal,
            ...(platform ? { platform } : {}),
          }),
        );
      },
    },
    {
      method: 'POST',
      path: '/commit',
      job: 'container.commit',
      handler: async (context) => {
        const { query } = context;
        const container = query.get('container') ?? '';
        if (container === '') throw invalid('the parameter "container" is missing');
        const request = {
          container,
          name: nameOf(context),
          comment: query.get('comment') ?? '',
          author: query.get('author') ?? '',
          pause: query.bool('pause', true),
          changes: query.getAll('changes').flatMap((text) => text.split('\n')),
          config: (await context.body(containerConfigSchema.nullish())) ?? {},
        };
        const id = await commitContainer(options, request, context.job.signal);
        context.json(201, { Id: id });
      },
    },
  ];
}

/** The name that `repo` and `tag` ask for; undefined for none. */
function nameOf(context: RequestContext): Reference | undefined {
  const repo = context.query.get('repo') ?? '';
  return repo === '' ? undefined : parseTagParameters(repo, context.query.get('tag') ?? '');
}

async function save(context: RequestContext, images: Images, names: readonly string[]): Promise<void> {
  // old clients send one parameter with commas
  const wanted = names.flatMap((name) => name.split(',')).filter((name) => name !== '');
  const platform = platformOf(context, '1.48');
  for (const name of platform ? wanted : []) ofPlatform(images.resolve(name), platform, name);
  const archive = await saveImages(images, wanted, context.signal);
  const reply = context.stream({ contentType: 'application/x-tar' });
  for await (const piece of archive) await reply.write(piece);
  reply.end();
}

/** `POST /images/create` with `fromSrc`: an image of an archive, from the body or fetched. */
export async function importFrom(context: RequestContext, options: ImageFilesOptions): Promise<void> {
  const { query } = context;
  const source = query.get('fromSrc') ?? '';
  const platform = query.get('platform') ?? '';
  const request: ImportRequest = {
    name: nameOf(context),
    message: query.get('message') ?? '',
    changes: query.getAll('changes').flatMap((text) => text.split('\n')),
    platform: platform === '' ? undefined : parsePlatform(platform),
  };
  const { signal } = context.job;
  await replyWithProgress(context, async (onMessage) => {
    let archive: AsyncIterable<Uint8Array> = context.bodyStream();
    if (source !== '-') {
      if (!/^https?:\/\//.test(source)) {
        throw invalid(`${source} is no http or https URL to import from`);
      }
      onMessage({ status: `Downloading from ${source}` });
      archive = (await download(source, signal)).body;
    }
    onMessage({ status: await importImage(options, archive, request, signal) });
  });
}
