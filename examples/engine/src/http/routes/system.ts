/** `_ping`, `version`, `info`, `auth` and `df`. */
import { z } from 'zod';
import { invalid } from '../../errors.ts';
import type { RequestContext } from '../context.ts';
import type { Route } from '../route.ts';

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

const DISK_TYPES: readonly string[] = ['container', 'image', 'volume', 'build-cache'];

/** The system end-points. */
export function systemRoutes(system: SystemService): Route[] {
  return [
    { method: 'GET', path: '/_ping', handler: (context) => ping(context, 'OK') },
    { method: 'HEAD', path: '/_ping', handler: (context) => ping(context, '') },
    { method: 'GET', path: '/version', handler: (context) => context.json(200, system.version()) },
    {
      method: 'GET',
      path: '/info',
      handler: async (context) => context.json(200, infoFor(context, await system.info())),
    },
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
      handler: async (context) => {
        const types = context.speaks('1.42') ? context.query.getAll('type') : [];
        const unknown = types.find((type) => !DISK_TYPES.includes(type));
        if (unknown !== undefined) throw invalid(`unknown object type: ${unknown}`);
        context.json(200, diskUsageFor(context, await system.diskUsage(types)));
      },
    },
    { method: 'GET', path: '/plugins', handler: (context) => context.json(200, []) },
    // what a browser asks before it asks
    { method: 'OPTIONS', path: '/*', handler: (context) => context.empty(200) },
  ];
}

function ping(context: RequestContext, body: string): void {
  context.setHeader('Cache-Control', 'no-cache, no-store, must-revalidate');
  context.setHeader('Pragma', 'no-cache');
  context.setHeader('Builder-Version', '2');
  context.setHeader('Swarm', 'inactive');
  context.send(200, 'text/plain; charset=utf-8', body);
}

interface Commit {
  ID: string;
}

/** `info` as the client's version has it. */
function infoFor(context: RequestContext, info: Record<string, unknown>): Record<string, unknown> {
  const result = { ...info };
  const commits = ['ContainerdCommit', 'RuncCommit', 'InitCommit'];
  if (!context.speaks('1.25')) {
    const options = info['SecurityOptions'] as string[];
    result['SecurityOptions'] = options.map((option) => option.replace(/^name=([^,]*).*$/, '$1'));
  }
  if (!context.speaks('1.42')) result['KernelMemory'] = false;
  if (!context.speaks('1.47')) {
    result['RegistryConfig'] = {
      AllowNondistributableArtifactsCIDRs: null,
      AllowNondistributableArtifactsHostnames: null,
      ...(info['RegistryConfig'] as object),
    };
  }
  if (!context.speaks('1.49')) {
    delete result['FirewallBackend'];
    for (const key of commits) {
      const { ID } = info[key] as Commit;
      result[key] = { ID, Expected: ID };
    }
  }
  if (!context.speaks('1.50')) Object.assign(result, { BridgeNfIptables: false, BridgeNfIp6tables: false });
  return result;
}

/** Disk use as the client's version has it. */
function diskUsageFor(context: RequestContext, usage: Record<string, unknown>): Record<string, unknown> {
  const result = { ...usage };
  const images = usage['Images'] as { Size: number }[] | null;
  const cache = usage['BuildCache'] as { Size: number }[] | null;
  if (!context.speaks('1.44')) {
    result['Images'] = images?.map((image) => ({ ...image, VirtualSize: image.Size })) ?? null;
  }
  if (!context.speaks('1.42')) {
    result['BuilderSize'] = (cache ?? []).reduce((sum, { Size }) => sum + Size, 0);
  }
  return result;
}
