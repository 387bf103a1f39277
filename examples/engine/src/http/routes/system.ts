/** `_ping`, `version`, `info`, `auth`, `df`, and the parts of the API that are refused in an orderly way. */
import { z } from 'zod';
import { unavailable } from '../../errors.ts';
import type { RequestContext } from '../context.ts';
import type { HttpMethod, Route } from '../route.ts';

/** What the system end-points need of the engine. */
export interface SystemService {
  version(): Record<string, unknown>;
  info(): Promise<Record<string, unknown>>;
  /** Checks credentials against their registry. @throws {EngineError} `UNAUTHORIZED` */
  authenticate(credentials: AuthConfig, signal: AbortSignal): Promise<{ identityToken: string }>;
  /** Disk use; `types` empty means everything. */
  diskUsage(types: readonly string[]): Promise<Record<string, unknown>>;
}

const authSchema = z.object({
  username: z.string().default(''),
  password: z.string().default(''),
  auth: z.string().optional(),
  email: z.string().optional(),
  serveraddress: z.string().default(''),
  identitytoken: z.string().optional(),
  registrytoken: z.string().optional(),
});
/** Credentials as `POST /auth` gets them. */
export type AuthConfig = z.output<typeof authSchema>;

/** The words of dockerd, which clients show. */
const NOT_A_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

/** Every swarm end-point; `:name*` where ids may follow. */
const SWARM_PATHS: readonly [HttpMethod, string][] = [
  ['GET', '/swarm'],
  ['POST', '/swarm/leave'],
  ['POST', '/swarm/update'],
  ['POST', '/swarm/unlock'],
  ['GET', '/swarm/unlockkey'],
  ...['nodes', 'services', 'secrets', 'configs'].flatMap((kind): [HttpMethod, string][] => [
    ['GET', `/${kind}`],
    ['GET', `/${kind}/:id`],
    ['DELETE', `/${kind}/:id`],
    ['POST', `/${kind}/:id/update`],
  ]),
  ['POST', '/services/create'],
  ['POST', '/secrets/create'],
  ['POST', '/configs/create'],
  ['GET', '/services/:id/logs'],
  ['GET', '/tasks'],
  ['GET', '/tasks/:id'],
  ['GET', '/tasks/:id/logs'],
];

/** The system end-points. */
export function systemRoutes(system: SystemService): Route[] {
  return [
    { method: 'GET', path: '/_ping', handler: (context) => ping(context, 'OK') },
    { method: 'HEAD', path: '/_ping', handler: (context) => ping(context, '') },
    { method: 'GET', path: '/version', handler: (context) => context.json(200, system.version()) },
    { method: 'GET', path: '/info', handler: async (context) => context.json(200, await system.info()) },
    {
      method: 'POST',
      path: '/auth',
      job: 'auth.check',
      cancelOnDisconnect: true,
      async handler(context) {
        const credentials = await context.body(authSchema);
        const { identityToken } = await system.authenticate(credentials, context.job.signal);
        context.json(200, { Status: 'Login Succeeded', IdentityToken: identityToken });
      },
    },
    {
      method: 'GET',
      path: '/system/df',
      handler: async (context) => context.json(200, await system.diskUsage(context.query.getAll('type'))),
    },
    { method: 'GET', path: '/plugins', handler: (context) => context.json(200, []) },
    {
      method: 'POST',
      path: '/swarm/init',
      handler: () => {
        throw unavailable('swarm mode is not part of this engine');
      },
    },
    {
      method: 'POST',
      path: '/swarm/join',
      handler: () => {
        throw unavailable('swarm mode is not part of this engine');
      },
    },
    ...SWARM_PATHS.map(([method, path]): Route => ({
      method,
      path,
      handler: () => {
        throw unavailable(NOT_A_SWARM);
      },
    })),
  ];
}

function ping(context: RequestContext, body: string): void {
  context.setHeader('Cache-Control', 'no-cache, no-store, must-revalidate');
  context.setHeader('Pragma', 'no-cache');
  context.setHeader('Builder-Version', '2');
  context.setHeader('Swarm', 'inactive');
  context.send(200, 'text/plain; charset=utf-8', body);
}
