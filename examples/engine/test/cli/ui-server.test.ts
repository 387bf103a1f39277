/** The dashboard's server lets in whoever has the token, and only to look. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DaemonClient } from '../../src/cli/client.ts';
import { resolveHost } from '../../src/cli/host.ts';
import { startUiServer, type UiServer } from '../../src/cli/ui-server.ts';
import { machine } from './machine.ts';
import { startPeer, type Peer } from './peer.ts';

const built = existsSync(join(import.meta.dirname, '../../dist/ui/app.js'));

describe.skipIf(!built)(
  `the dashboard's server${built ? '' : ' (skipped: not built, see tools/boot.mjs)'}`,
  () => {
    let peer: Peer;
    let client: DaemonClient;
    let server: UiServer;
    let origin: string;
    let cookie: string;

    beforeEach(async () => {
      peer = await startPeer(machine());
      client = new DaemonClient(resolveHost(peer.host, {}));
      server = await startUiServer(client, 0);
      ({ origin } = new URL(server.url));
      cookie = `tare-ui=${new URL(server.url).searchParams.get('token')}`;
    });
    afterEach(async () => {
      await server[Symbol.asyncDispose]();
      client.close();
      await peer[Symbol.asyncDispose]();
    });

    async function ask(path: string, headers: Record<string, string> = {}, method = 'GET') {
      const sent = request(new URL(path, origin), { method, headers }).end();
      const [response] = (await once(sent, 'response')) as [IncomingMessage];
      return { status: response.statusCode, headers: response.headers, body: await text(response) };
    }

    it('listens on loopback alone', () => {
      expect(new URL(origin).hostname).toBe('127.0.0.1');
    });

    it('moves the token from the address to a cookie that scripts cannot read', async () => {
      const { status, headers } = await ask(server.url);
      expect(status).toBe(303);
      expect(headers['set-cookie']).toEqual([`${cookie}; HttpOnly; SameSite=Strict; Path=/`]);
      expect(headers.location).toBe('/');
      const page = await ask('/', { cookie });
      expect(page.status).toBe(200);
      expect(page.body).toContain('<title>Tare</title>');
      expect(page.headers['content-security-policy']).toContain("default-src 'none'");
    });

    it('answers nobody without the token', async () => {
      for (const path of ['/', '/app.js', '/api/containers/json', '/?token=', '/?token=wrong']) {
        expect((await ask(path)).status, path).toBe(401);
      }
      expect((await ask('/', { cookie: `${cookie}x` })).status).toBe(401);
      expect(peer.seen).toEqual([]);
    });

    it('hands questions on to the daemon, with their parameters and its errors', async () => {
      const list = await ask('/api/containers/json?all=1', { cookie });
      expect(list.status).toBe(200);
      expect(JSON.parse(list.body)).toEqual(expect.any(Array));
      expect(peer.seen.at(-1)).toMatchObject({ method: 'GET', target: '/containers/json?all=1' });
      const missing = await ask('/api/containers/nosuch/json', { cookie });
      expect([missing.status, JSON.parse(missing.body)]).toEqual([
        404,
        { message: expect.any(String) as string },
      ]);
    });

    it('hands on nothing that changes something', async () => {
      for (const method of ['POST', 'DELETE', 'PUT']) {
        expect((await ask('/api/containers/x/start', { cookie }, method)).status).toBe(405);
      }
      expect(peer.seen).toEqual([]);
    });

    it('answers under no other name, which pages of the web could have given to this address', async () => {
      expect((await ask('/api/info', { cookie, host: 'evil.example.com' })).status).toBe(421);
      expect((await ask('/', { cookie, host: `localhost:${new URL(origin).port}` })).status).toBe(200);
    });
  },
);
