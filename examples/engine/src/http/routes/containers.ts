/** `/containers`: parse, call, render. */
import type { AttachOptions } from '../../containers/attach.ts';
import type { Containers } from '../../containers/containers.ts';
import { createRequestSchema } from '../../containers/create-request.ts';
import { updateSchema } from '../../containers/host-config.ts';
import { CONTAINER_FILTERS } from '../../containers/list.ts';
import type { WaitCondition } from '../../containers/store.ts';
import { invalid, notFound } from '../../errors.ts';
import { attributesText } from '../../logs/drivers.ts';
import { parseTimestamp } from '../../time.ts';
import type { RequestContext } from '../context.ts';
import { encodeJson } from '../json.ts';
import type { Route } from '../route.ts';
import { frameHeader } from '../streams.ts';

const WAIT_CONDITIONS: readonly string[] = ['not-running', 'next-exit', 'removed'];

/** The end-points of containers. */
export function containerRoutes(containers: Containers): Route[] {
  return [
    {
      method: 'GET',
      path: '/containers/json',
      async handler(context) {
        const { query } = context;
        const selected = await containers.list(
          {
            all: query.bool('all'),
            limit: Math.max(0, query.int('limit', 0)),
            filters: query.filters(CONTAINER_FILTERS),
            size: query.bool('size'),
          },
          context.apiVersion,
        );
        context.json(200, selected);
      },
    },
    {
      method: 'POST',
      path: '/containers/create',
      job: 'container.create',
      async handler(context) {
        const request = await context.body(createRequestSchema);
        const { id, warnings } = await containers.create({
          request,
          name: context.query.get('name') ?? '',
          platform: context.query.get('platform') ?? '',
          apiVersion: context.apiVersion,
          job: context.job,
        });
        context.json(201, { Id: id, Warnings: warnings });
      },
    },
    {
      method: 'POST',
      path: '/containers/prune',
      job: 'container.prune',
      async handler(context) {
        const filters = context.query.filters(['label', 'label!', 'until']);
        const { deleted, spaceReclaimed } = await containers.prune(filters);
        context.json(200, {
          ContainersDeleted: deleted.length > 0 ? deleted : null,
          SpaceReclaimed: spaceReclaimed,
        });
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/json',
      async handler(context) {
        const size = context.query.bool('size');
        const { apiVersion } = context;
        context.json(200, await containers.inspect(context.param('id'), { size, apiVersion }));
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/top',
      async handler(context) {
        context.json(200, await containers.top(context.param('id'), context.query.get('ps_args') ?? ''));
      },
    },
    { method: 'GET', path: '/containers/:id/logs', handler: (context) => logs(containers, context) },
    { method: 'GET', path: '/containers/:id/stats', handler: (context) => stats(containers, context) },
    {
      method: 'POST',
      path: '/containers/:id/attach',
      hijack: true,
      handler: (context) =>
        containers.attach(context.param('id'), attachOptions(context), (multiplexed) =>
          context.hijack({ multiplexed }),
        ),
    },
    {
      method: 'GET',
      path: '/containers/:id/attach/ws',
      hijack: true,
      handler: (context) => {
        const options = { ...attachOptions(context), raw: true };
        // the parameters that choose were not heard before
        if (!context.speaks('1.42')) Object.assign(options, { stdin: true, stdout: true, stderr: true });
        return containers.attach(context.param('id'), options, () => context.webSocket());
      },
    },
    { method: 'POST', path: '/containers/:id/wait', handler: (context) => wait(containers, context) },
    {
      method: 'POST',
      path: '/containers/:id/resize',
      job: 'container.resize',
      async handler(context) {
        await containers.resize(context.param('id'), terminalSize(context));
        context.empty(200);
      },
    },
    ...lifecycleRoutes(containers),
  ];
}

function lifecycleRoutes(containers: Containers): Route[] {
  const route = (
    verb: string,
    status: number,
    work: (context: RequestContext, id: string) => Promise<void>,
  ): Route => ({
    method: 'POST',
    path: `/containers/:id/${verb}`,
    job: `container.${verb}`,
    async handler(context) {
      await work(context, context.param('id'));
      context.empty(status);
    },
  });
  return [
    route('start', 204, async (_context, id) => containers.start(id)),
    route('stop', 204, (context, id) => containers.stop(id, stopOptions(context))),
    route('restart', 204, (context, id) => containers.restart(id, stopOptions(context))),
    route('kill', 204, (context, id) => containers.kill(id, context.query.get('signal') || undefined)),
    route('pause', 204, (_context, id) => containers.pause(id)),
    route('unpause', 204, (_context, id) => containers.unpause(id)),
    route('rename', 204, (context, id) => containers.rename(id, context.query.get('name') ?? '')),
    {
      method: 'POST',
      path: '/containers/:id/update',
      job: 'container.update',
      async handler(context) {
        await containers.update(context.param('id'), await context.body(updateSchema));
        context.json(200, { Warnings: null });
      },
    },
    {
      method: 'DELETE',
      path: '/containers/:id/:alias',
      job: 'container.unlink',
      async handler(context) {
        if (!context.query.bool('link')) throw notFound('page not found');
        await containers.unlink(context.param('id'), context.param('alias'));
        context.empty(204);
      },
    },
    {
      method: 'DELETE',
      path: '/containers/:id',
      job: 'container.remove',
      async handler(context) {
        const { query } = context;
        if (query.bool('link'))
          throw invalid(`${context.param('id')} is no link: give it as container/alias`);
        await containers.remove(context.param('id'), {
          force: query.bool('force'),
          volumes: query.bool('v'),
        });
        context.empty(204);
      },
    },
  ];
}

function attachOptions({ query, signal }: RequestContext): AttachOptions {
  return {
    stdin: query.bool('stdin'),
    stdout: query.bool('stdout'),
    stderr: query.bool('stderr'),
    logs: query.bool('logs'),
    stream: query.bool('stream'),
    detachKeys: query.get('detachKeys') ?? '',
    signal,
  };
}

function stopOptions(context: RequestContext): { signal?: string; timeoutS?: number } {
  const signal = context.speaks('1.42') ? context.query.get('signal') : undefined;
  const timeout = context.query.get('t');
  if (timeout !== undefined && timeout !== '' && !/^-?\d+$/.test(timeout)) {
    throw invalid(`invalid value for t: ${timeout}`);
  }
  return {
    ...(signal ? { signal } : {}),
    ...(timeout ? { timeoutS: Number(timeout) } : {}),
  };
}

/** `h` and `w`. @throws {EngineError} `INVALID` */
export function terminalSize(context: RequestContext): { columns: number; rows: number } {
  const read = (name: string, what: string): number => {
    const text = context.query.get(name) ?? '';
    const value = Number(text);
    if (!/^\d+$/.test(text) || value > 0xffff) throw invalid(`invalid resize ${what} "${text}"`);
    return value;
  };
  return { rows: read('h', 'height'), columns: read('w', 'width') };
}

async function wait(containers: Containers, context: RequestContext): Promise<void> {
  const condition = context.query.get('condition') || 'not-running';
  if (!WAIT_CONDITIONS.includes(condition)) throw invalid(`invalid condition: "${condition}"`);
  const legacy = !context.speaks('1.30');
  const result = containers.wait(
    context.param('id'),
    (legacy ? 'not-running' : condition) as WaitCondition,
    context.signal,
  );
  const body = async (): Promise<unknown> => {
    try {
      const { exitCode, error } = await result;
      return { StatusCode: exitCode, ...(error === undefined ? {} : { Error: { Message: error } }) };
    } catch {
      // the client left, or the engine does
      return { Error: { Message: 'the daemon is stopping; the container goes on' }, StatusCode: -1 };
    }
  };
  if (legacy) {
    context.json(200, await body());
    return;
  }
  // the client starts the container once it has these
  const reply = context.stream();
  await reply.write(encodeJson(await body()));
  reply.end();
}

async function logs(containers: Containers, context: RequestContext): Promise<void> {
  const { query } = context;
  const wanted = { stdout: query.bool('stdout'), stderr: query.bool('stderr') };
  if (!wanted.stdout && !wanted.stderr) {
    throw invalid('Bad parameters: you must choose at least one stream');
  }
  const time = (name: string): bigint | undefined => {
    const text = query.get(name);
    if (!text || text === '0') return undefined;
    const ns = parseTimestamp(text);
    if (ns === undefined) throw invalid(`invalid value for "${name}": ${text}`);
    return ns;
  };
  const tail = /^\d{1,15}$/.test(query.get('tail') ?? '') ? Number(query.get('tail')) : undefined;
  const container = containers.find(context.param('id'));
  const terminal = container.record.config.Tty === true;
  const sinceNs = time('since');
  const untilNs = time('until');
  await using entries = await containers.logs(container.id, {
    follow: query.bool('follow'),
    signal: context.signal,
    ...(tail === undefined ? {} : { tail }),
    ...(sinceNs === undefined ? {} : { sinceNs }),
    ...(untilNs === undefined ? {} : { untilNs }),
  });
  const multiplexed = !terminal && context.speaks('1.42');
  const reply = context.stream({
    contentType: `application/vnd.docker.${multiplexed ? 'multiplexed' : 'raw'}-stream`,
  });
  const timestamps = query.bool('timestamps');
  // the space is there also when no attributes come before it
  const details = query.bool('details') ? `${attributesText(containers.logAttributes(container.id))} ` : '';
  try {
    for await (const batch of entries) {
      const output: Buffer[] = [];
      for (const { stream, text, time } of batch) {
        if (!terminal && !wanted[stream]) continue;
        const line = Buffer.from(`${timestamps ? `${paddedTime(time)} ` : ''}${details}${text}`);
        if (!terminal) output.push(frameHeader(stream, line.length));
        output.push(line);
      }
      if (output.length > 0) await reply.write(Buffer.concat(output));
    }
  } catch (error) {
    if (!context.signal.aborted) throw error;
  }
  reply.end();
}

/** A time of the log with exactly nine fraction digits, which line up. */
function paddedTime(time: string): string {
  const [seconds = '', fraction = ''] = time.replace(/Z$/, '').split('.');
  return `${seconds}.${fraction.padEnd(9, '0')}Z`;
}

async function stats(containers: Containers, context: RequestContext): Promise<void> {
  const { query } = context;
  const stream = query.bool('stream', true);
  const oneShot = query.bool('one-shot') && context.speaks('1.41');
  if (stream && oneShot) throw invalid('cannot have stream=true and one-shot=true');
  const mode = stream ? 'stream' : oneShot ? 'single' : 'pair';
  const { id } = containers.find(context.param('id'));
  const samples = containers.stats(id, mode, context.signal);
  const reply = context.stream();
  for await (const sample of samples) await reply.write(encodeJson(sample));
  reply.end();
}
