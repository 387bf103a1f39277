/** `GET /events`. */
import { EVENT_FILTERS, matchesEvent, type EngineEvent, type EventBus } from '../../events/event-bus.ts';
import { invalid } from '../../errors.ts';
import { parseTimestamp } from '../../time.ts';
import type { RequestContext } from '../context.ts';
import { encodeJson } from '../json.ts';
import type { Route } from '../route.ts';

const NS_PER_S = 1_000_000_000n;

/** The event stream. */
export function eventRoutes(events: EventBus): Route[] {
  return [
    {
      method: 'GET',
      path: '/events',
      async handler(context) {
        const filters = context.query.filters(EVENT_FILTERS);
        const sinceNs = timestamp(context, 'since');
        const untilNs = timestamp(context, 'until');
        if (sinceNs !== undefined && untilNs !== undefined && sinceNs > untilNs) {
          throw invalid('`since` time cannot be after `until` time');
        }
        // listening starts before the headers leave: a client that has them misses nothing
        await using stream = events.subscribe({
          ...(sinceNs === undefined ? {} : { sinceNs }),
          ...(untilNs === undefined ? {} : { untilNs }),
          // images are made silently for clients below 1.46
          filter: (event) =>
            matchesEvent(filters, event) &&
            (event.type !== 'image' || event.action !== 'create' || context.speaks('1.46')),
          signal: context.signal,
        });
        const reply = context.stream();
        for await (const event of stream) await reply.write(encodeJson(renderEvent(event)));
        reply.end();
      },
    },
  ];
}

function timestamp(context: RequestContext, name: string): bigint | undefined {
  const text = context.query.get(name);
  if (text === undefined || text === '' || text === '0') return undefined;
  const time = parseTimestamp(text);
  if (time === undefined)
    throw invalid(`invalid ${name}: ${JSON.stringify(text)} is neither a time nor a duration`);
  return time;
}

/** An event as clients below API 1.52 get it: containers and images also have the fields of old. */
function renderEvent(event: EngineEvent): unknown {
  const legacy =
    event.type === 'container'
      ? { status: event.action, id: event.id, from: event.attributes['image'] }
      : event.type === 'image'
        ? { status: event.action, id: event.id }
        : {};
  return {
    ...legacy,
    Type: event.type,
    Action: event.action,
    Actor: { ID: event.id, Attributes: event.attributes },
    scope: event.scope,
    time: event.timeNs / NS_PER_S,
    timeNano: event.timeNs,
  };
}
