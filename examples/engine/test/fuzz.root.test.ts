/** Bad input to every end-point of a real daemon: an error the client can read, never a crash, never a hang. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allRoutes } from './all-routes.ts';
import { makeEngineHome, missingForDaemon } from './daemon.ts';
import { call, RawClient } from './http/harness.ts';
import { connect } from 'node:net';

if (missingForDaemon !== undefined) console.warn(`skipping bad input: ${missingForDaemon}`);

/** Streams without end, and what would go to the network. */
const SKIPPED = new Set([
  'GET /events',
  'POST /images/create',
  'POST /auth',
  'GET /distribution/:name*/json',
  'GET /images/search',
]);

const routes = allRoutes.filter(({ method, path }) => !SKIPPED.has(`${method} ${path}`));
const text = fc
  .string({ unit: 'binary', maxLength: 40 })
  .map((value) => encodeURIComponent(value.toWellFormed()));
const segment = text.map((value) => `fuzz${value}`);
const QUERY_NAMES =
  'all filters limit size t signal h w stdout stderr stream tail since until force v name repo tag'.split(
    ' ',
  );
const query = fc
  .array(fc.tuple(fc.constantFrom(...QUERY_NAMES), text), { maxLength: 4 })
  .map((pairs) => pairs.map(([key, value]) => `${key}=${value}`).join('&'));
const FIELDS =
  'Image Cmd HostConfig Memory Binds PortBindings Name Driver IPAM Labels Tty Env NetworkingConfig'.split(
    ' ',
  );
const body = fc.oneof(
  fc.string({ maxLength: 30 }),
  fc.json({ maxDepth: 3 }),
  fc
    .dictionary(fc.constantFrom(...FIELDS), fc.jsonValue({ maxDepth: 2 }))
    .map((value) => JSON.stringify(value)),
);

describe.skipIf(missingForDaemon !== undefined)('bad input', () => {
  it('to any end-point gets a readable answer', { timeout: 120_000 }, async () => {
    await using home = await makeEngineHome();
    const daemon = await home.start('--log-level', 'error');
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...routes),
        segment,
        query,
        body,
        async (route, name, search, content) => {
          const path = `/v1.51${route.path.replace(/:\w+\*?/g, name)}?${search}`;
          const hasBody = route.method === 'POST' || route.method === 'PUT';
          const reply = await call(home.socketPath, route.method, path, hasBody ? { body: content } : {});
          const what = `${route.method} ${path} ${content} → ${reply.status} ${reply.body}`;
          // 501 and 503 are the parts of the API that are not served
          expect([500, 502, 504], what).not.toContain(reply.status);
          if (reply.status >= 400 && route.method !== 'HEAD') {
            expect((JSON.parse(reply.body) as { message: unknown }).message, what).toEqual(
              expect.any(String),
            );
          }
        },
      ),
      { numRuns: 800, endOnFailure: true },
    );
    expect((await call(home.socketPath, 'GET', '/_ping')).body).toBe('OK');
    expect((await daemon.stop()).code, daemon.output).toBe(0);
  });

  it('in raw bytes does not end the daemon', { timeout: 60_000 }, async () => {
    await using home = await makeEngineHome();
    const daemon = await home.start('--log-level', 'error');
    const start = fc.constantFrom(
      'GET /_ping HTTP/1.1\r\n',
      'POST /containers/create HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 10\r\n',
      'POST /exec/x/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 99\r\n',
      'POST /containers/x/attach HTTP/1.1\r\nTransfer-Encoding: chunked\r\n',
      '',
    );
    await fc.assert(
      fc.asyncProperty(
        start,
        fc.string({ unit: 'binary', maxLength: 60 }),
        fc.boolean(),
        async (head, rest, end) => {
          using client = new RawClient(connect({ path: home.socketPath, allowHalfOpen: true }));
          client.socket.write(`${head}\r\n${rest}`);
          if (end) {
            client.socket.end();
            await client.toEnd();
          }
        },
      ),
      { numRuns: 300 },
    );
    expect((await call(home.socketPath, 'GET', '/_ping')).body).toBe('OK');
    expect((await daemon.stop()).code, daemon.output).toBe(0);
  });
});
