/** The end-points that talk to registries: pull, push, search, and looking at what is there. */
import { parsePlatform, parseReference } from '@tare/image-spec';
import { forbidden, invalid } from '../../errors.ts';
import { inspectDistribution, SEARCH_FILTERS, searchImages } from '../../images/distribution.ts';
import type { Puller, PullRequest } from '../../images/pull.ts';
import type { Pusher, PushRequest } from '../../images/push.ts';
import type { OpenRepository, SearchRegistry } from '../../images/remote.ts';
import type { RequestContext } from '../context.ts';
import { platformOf } from '../platform-parameter.ts';
import { replyWithProgress } from '../progress-reply.ts';
import { decodeRegistryAuth } from '../registry-auth.ts';
import type { Route } from '../route.ts';

/** What these end-points need of the engine. */
export interface RegistryRoutesOptions {
  puller: Pick<Puller, 'pull'>;
  pusher: Pick<Pusher, 'push'>;
  openRepository: OpenRepository;
  search: SearchRegistry;
  /** `POST /images/create` with an archive as the source. */
  importFrom(context: RequestContext): Promise<void>;
}

/** The end-points. */
export function registryRoutes(options: RegistryRoutesOptions): Route[] {
  return [
    {
      method: 'POST',
      path: '/images/create',
      job: 'image.pull',
      cancelOnDisconnect: true,
      handler: (context) =>
        (context.query.get('fromImage') ?? '') === '' && (context.query.get('fromSrc') ?? '') !== ''
          ? options.importFrom(context)
          : createImage(context, options.puller),
    },
    {
      method: 'POST',
      path: '/images/:name*/push',
      job: 'image.push',
      cancelOnDisconnect: true,
      handler: (context) => pushImage(context, options.pusher),
    },
    {
      method: 'GET',
      path: '/images/search',
      handler: async (context) => {
        const { query, signal } = context;
        const term = query.get('term') ?? '';
        if (term === '') throw invalid('the parameter "term" is missing: what to search for');
        const found = await searchImages(options.search, term, {
          limit: query.int('limit', 25) || 25,
          filters: query.filters(SEARCH_FILTERS),
          auth: authOf(context),
          signal,
        });
        context.json(
          200,
          found.map(({ name, description, stars, official }) => ({
            name,
            description,
            star_count: stars,
            is_official: official,
            is_automated: false,
          })),
        );
      },
    },
    {
      method: 'GET',
      path: '/distribution/:name*/json',
      handler: async (context) => {
        const { descriptor, platforms } = await inspectDistribution(
          options.openRepository,
          context.param('name'),
          authOf(context),
          context.signal,
        );
        context.json(200, { Descriptor: descriptor, Platforms: platforms });
      },
    },
  ];
}

const authOf = (context: RequestContext) => decodeRegistryAuth(context.header('x-registry-auth'));

async function createImage(context: RequestContext, puller: RegistryRoutesOptions['puller']): Promise<void> {
  const { query } = context;
  const fromImage = query.get('fromImage') ?? '';
  if (fromImage === '') throw invalid('fromImage must not be empty');
  // old clients write "all tags" as a trailing colon
  const name = parseReference(fromImage.replace(/:$/, ''));
  const tag = query.get('tag') ?? '';
  const { registry, repository } = name;
  const reference =
    tag === ''
      ? name
      : parseReference(`${registry}/${repository}${/^sha(256|512):/.test(tag) ? '@' : ':'}${tag}`);
  if (registry === 'docker.io' && repository === 'library/scratch') {
    throw forbidden("'scratch' is a reserved name");
  }
  context.job.about(fromImage + (tag === '' ? '' : `:${tag}`));
  const request: PullRequest = { reference, auth: authOf(context) };
  const platform = context.speaks('1.32') ? (query.get('platform') ?? '') : '';
  if (platform !== '') request.platform = parsePlatform(platform);
  await replyWithProgress(context, (onMessage) => puller.pull(request, onMessage, context.job));
}

async function pushImage(context: RequestContext, pusher: RegistryRoutesOptions['pusher']): Promise<void> {
  const { query } = context;
  const name = context.param('name');
  const tag = query.get('tag') ?? '';
  const request: PushRequest = {
    reference: parseReference(tag === '' ? name : `${name}:${tag}`),
    auth: authOf(context),
  };
  const platform = platformOf(context, '1.46');
  if (platform) request.platform = platform;
  context.job.about(name + (tag === '' ? '' : `:${tag}`));
  await replyWithProgress(context, (onMessage) => pusher.push(request, onMessage, context.job));
}
