import { describe, expect, it } from 'vitest';
import { EVENT_FILTERS, EventBus, matchesEvent, type EventInput } from '../../src/events/event-bus.ts';
import { parseFilters } from '../../src/filters.ts';
import { eventRoutes } from '../../src/http/routes/events.ts';
import { nowNs } from '../../src/time.ts';
import { serve } from '../http/harness.ts';

const started: EventInput = {
  type: 'container',
  action: 'start',
  id: 'e7edd6738781',
  attributes: { image: 'busybox:1.37', name: 'web', app: 'shop' },
};
const pulled: EventInput = {
  type: 'image',
  action: 'pull',
  id: 'busybox:1.37',
  attributes: { name: 'busybox' },
};

async function collect(stream: AsyncIterable<{ action: string }>): Promise<string[]> {
  const actions: string[] = [];
  for await (const event of stream) actions.push(event.action);
  return actions;
}

describe('EventBus', () => {
  it('delivers what happens after subscribing, in order', async () => {
    const bus = new EventBus();
    bus.publish({ ...started, action: 'create' });
    const end = new AbortController();
    const stream = bus.subscribe({ signal: end.signal });
    bus.publish(started);
    bus.publish({ ...started, action: 'die' });
    end.abort();
    expect(await collect(stream)).toEqual(['start', 'die']);
    expect(bus.listeners).toBe(0);
  });

  it('remembers the last 256 for those who come late', async () => {
    const bus = new EventBus();
    for (let i = 0; i < 300; i += 1) bus.publish({ ...started, action: String(i) });
    const actions = await collect(bus.subscribe({ sinceNs: 0n, untilNs: nowNs() }));
    expect(actions).toHaveLength(256);
    expect(actions[0]).toBe('44');
    expect(actions.at(-1)).toBe('299');
  });

  it('ends at "until" without anything happening', async () => {
    const bus = new EventBus();
    bus.publish(started);
    expect(await collect(bus.subscribe({ untilNs: nowNs() + 20_000_000n }))).toEqual(['start']);
    expect(bus.listeners).toBe(0);
  });

  it('forgets a listener that stops reading', async () => {
    const bus = new EventBus();
    for await (const event of bus.subscribe({
      sinceNs: 0n,
      untilNs: bus.publish(started).timeNs + 10n ** 12n,
    })) {
      expect(event.action).toBe('start');
      break;
    }
    expect(bus.listeners).toBe(0);
  });
});

describe('matchesEvent', () => {
  const event = { scope: 'local' as const, timeNs: 0n, attributes: {} };
  const container = { ...event, ...started, attributes: started.attributes! };
  const exec = { ...container, action: 'exec_create: /bin/sh -c true' };
  const image = { ...event, ...pulled, attributes: pulled.attributes! };
  it.each([
    ['{"type":["container"],"event":["start"]}', container, true],
    ['{"type":["image"]}', container, false],
    ['{"container":["e7edd"]}', container, true],
    ['{"container":["web"]}', container, true],
    ['{"container":["other"]}', container, false],
    ['{"container":["web"]}', image, false],
    ['{"event":["exec_create"]}', exec, true],
    ['{"event":["exec"]}', exec, false],
    ['{"label":["app=shop"]}', container, true],
    ['{"label":["app=bank"]}', container, false],
    ['{"image":["busybox:1.37"]}', container, true],
    ['{"image":["busybox"]}', container, true],
    ['{"image":["busybox"]}', image, true],
    ['{"image":["alpine"]}', image, false],
    ['{"node":["x"]}', container, false],
  ])('%s', (filters, subject, expected) => {
    expect(matchesEvent(parseFilters(filters, EVENT_FILTERS), subject)).toBe(expected);
  });
});

describe('GET /events', () => {
  it("streams Docker's shape, with the fields of old for containers, and exact nanoseconds", async () => {
    const bus = new EventBus();
    const { timeNs } = bus.publish(started);
    bus.publish({ type: 'network', action: 'connect', id: 'n1' });
    await using server = await serve(eventRoutes(bus));
    const { body, headers } = await server.call(
      'GET',
      `/events?since=1&until=${Number(timeNs / 10n ** 9n) + 1}`,
    );
    expect(headers['content-type']).toBe('application/json');
    const [first, second] = body.trim().split('\n');
    expect(first).toBe(
      `{"status":"start","id":"e7edd6738781","from":"busybox:1.37","Type":"container","Action":"start",` +
        `"Actor":{"ID":"e7edd6738781","Attributes":{"image":"busybox:1.37","name":"web","app":"shop"}},` +
        `"scope":"local","time":${timeNs / 10n ** 9n},"timeNano":${timeNs}}`,
    );
    expect(JSON.parse(second!)).not.toHaveProperty('status');
  });

  it('sends its headers before the first event', async () => {
    const bus = new EventBus();
    await using server = await serve(eventRoutes(bus));
    using client = await server.open();
    client.socket.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.until('\r\n\r\n');
    bus.publish(started);
    await client.until('"Action":"start"');
  });

  it.each([
    ['/events?since=soon', 'since'],
    ['/events?filters={"nope":["x"]}', "invalid filter 'nope'"],
    ['/events?since=20&until=10', 'cannot be after'],
  ])('refuses %s', async (path, message) => {
    await using server = await serve(eventRoutes(new EventBus()));
    const reply = await server.call('GET', encodeURI(path));
    expect(reply.status).toBe(400);
    expect(reply.body).toContain(message);
  });
});
