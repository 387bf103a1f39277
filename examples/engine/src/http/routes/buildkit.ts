/** `/grpc` and `/session`: connections that become BuildKit's; and builds that need none. Loaded with the first of them. */
import { randomBytes } from 'node:crypto';

import type { BuildKit } from '../../buildkit/server.ts';
import type { BuildParts } from '../../builder/in-engine/parts.ts';
import { invalid, notFound } from '../../errors.ts';
import type { RequestContext } from '../context.ts';
import type { Route } from '../route.ts';

/** The end-points. */
export function buildKitRoutes(parts: BuildParts): Route[] {
  let loaded: Promise<BuildKit> | undefined;
  const load = (): Promise<BuildKit> => {
    loaded ??= import('../../buildkit/server.ts').then(({ BuildKit }) => new BuildKit(parts));
    return loaded;
  };
  return [
    {
      method: 'POST',
      path: '/build/unchanged',
      async handler(context) {
        const { buildUnchanged, unchangedSchema } = await import('../../buildkit/unchanged.ts');
        const built = await buildUnchanged(parts, await context.body(unchangedSchema), context.signal);
        if (built === undefined) throw notFound('something has changed, or is not known here');
        context.json(200, built);
      },
    },
    {
      method: 'POST',
      path: '/grpc',
      hijack: true,
      async handler(context) {
        mustUpgrade(context);
        const buildKit = await load();
        const { duplex } = await context.hijack();
        await buildKit.serve(duplex, context.signal);
      },
    },
    {
      method: 'POST',
      path: '/session',
      hijack: true,
      async handler(context) {
        mustUpgrade(context);
        const id = context.header('x-docker-expose-session-uuid') ?? randomBytes(16).toString('hex');
        const methods = (context.header('x-docker-expose-session-grpc-method') ?? '').split(/,\s*/);
        const buildKit = await load();
        const { duplex } = await context.hijack();
        const sharedKey = context.header('x-docker-expose-session-sharedkey');
        await buildKit.serveSession({ id, sharedKey, methods }, duplex, context.signal);
      },
    },
  ];
}

function mustUpgrade(context: RequestContext): void {
  const protocol = context.header('upgrade');
  if (protocol?.toLowerCase() !== 'h2c') {
    throw invalid(`${context.path} needs the header Upgrade: h2c, not ${protocol ?? 'none'}`);
  }
}
