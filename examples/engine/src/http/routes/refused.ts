/** The parts of the API that this engine does not have, answered as dockerd does where they are off. */
import { EngineError, notFound, notImplemented, unavailable } from '../../errors.ts';
import type { RequestContext } from '../context.ts';
import type { HttpMethod, Route } from '../route.ts';

/** The words of dockerd, which clients show. */
const NOT_A_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
const NO_SWARM = 'swarm mode is not part of this engine';
const EXPERIMENTAL =
  'This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.';
const NO_PLUGINS = 'plugins are not part of this engine';

type Refusal = (context: RequestContext) => EngineError;

const list = (kinds: readonly string[], make: (kind: string) => readonly [HttpMethod, string][]) =>
  kinds.flatMap(make);

const REFUSALS: readonly (readonly [refusal: Refusal, routes: readonly (readonly [HttpMethod, string])[]])[] =
  [
    [
      () => unavailable(NO_SWARM),
      [
        ['POST', '/swarm/init'],
        ['POST', '/swarm/join'],
      ],
    ],
    [
      () => unavailable(NOT_A_SWARM),
      [
        ['GET', '/swarm'],
        ['POST', '/swarm/leave'],
        ['POST', '/swarm/update'],
        ['POST', '/swarm/unlock'],
        ['GET', '/swarm/unlockkey'],
        ...list(['nodes', 'services', 'secrets', 'configs'], (kind) => [
          ['GET', `/${kind}`],
          ['GET', `/${kind}/:id`],
          ['DELETE', `/${kind}/:id`],
          ['POST', `/${kind}/:id/update`],
        ]),
        ...list(['services', 'secrets', 'configs'], (kind) => [['POST', `/${kind}/create`]]),
        ['GET', '/services/:id/logs'],
        ['GET', '/tasks'],
        ['GET', '/tasks/:id'],
        ['GET', '/tasks/:id/logs'],
      ],
    ],
    [
      () => notImplemented(EXPERIMENTAL),
      [
        ['GET', '/containers/:id/checkpoints'],
        ['POST', '/containers/:id/checkpoints'],
        ['DELETE', '/containers/:id/checkpoints/:checkpoint'],
      ],
    ],
    [
      () => notImplemented(NO_PLUGINS),
      [
        ['GET', '/plugins/privileges'],
        ['POST', '/plugins/pull'],
        ['POST', '/plugins/create'],
      ],
    ],
    [
      (context) => notFound(`plugin "${context.param('name')}" not found`),
      [
        ['GET', '/plugins/:name*/json'],
        ['DELETE', '/plugins/:name*'],
        ...list(['enable', 'disable', 'push', 'upgrade', 'set'], (verb) => [
          ['POST', `/plugins/:name*/${verb}`],
        ]),
      ],
    ],
    [
      () => unavailable('only cluster volumes can be updated, and this node is not a swarm manager'),
      [['PUT', '/volumes/:name']],
    ],
  ];

/** The end-points. */
export function refusedRoutes(): Route[] {
  return REFUSALS.flatMap(([refusal, routes]) =>
    routes.map(([method, path]): Route => ({
      method,
      path,
      handler: (context) => {
        throw refusal(context);
      },
    })),
  );
}
