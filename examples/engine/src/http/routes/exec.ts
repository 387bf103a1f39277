/** `/exec`, and the making of execs. */
import type { Containers } from '../../containers/containers.ts';
import { execCreateSchema, execStartSchema } from '../../containers/exec-record.ts';
import type { Route } from '../route.ts';
import { terminalSize } from './containers.ts';

/** The end-points of execs. */
export function execRoutes(containers: Containers): Route[] {
  const { execs } = containers;
  return [
    {
      method: 'POST',
      path: '/containers/:id/exec',
      job: 'exec.create',
      async handler(context) {
        const container = containers.find(context.param('id'));
        const request = await context.body(execCreateSchema);
        if (!context.speaks('1.42')) delete request.ConsoleSize;
        context.json(201, { Id: execs.create(container, request) });
      },
    },
    {
      method: 'POST',
      path: '/exec/:id/start',
      job: 'exec.start',
      hijack: true,
      async handler(context) {
        const request = await context.body(execStartSchema);
        if (!context.speaks('1.42')) delete request.ConsoleSize;
        const how = await execs.start(
          context.param('id'),
          request,
          (multiplexed) => context.hijack({ multiplexed }),
          AbortSignal.any([context.signal, context.job.signal]),
        );
        if (how === 'detached') context.empty(200);
      },
    },
    {
      method: 'POST',
      path: '/exec/:id/resize',
      job: 'exec.resize',
      async handler(context) {
        await execs.resize(context.param('id'), terminalSize(context));
        context.empty(200);
      },
    },
    {
      method: 'GET',
      path: '/exec/:id/json',
      handler: (context) => context.json(200, execs.inspect(context.param('id'))),
    },
  ];
}
