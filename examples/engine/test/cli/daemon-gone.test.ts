/** Daemons that are not there, cannot be reached, or leave in the middle: each is one line that says what to do. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tare } from './drive.ts';
import { machine } from './machine.ts';
import { startPeer } from './peer.ts';

/**
 * Answers the first question of every client, and dies in the middle of all others.
 *
 * @param options.orderly - it ends its answer, and is not there for the next question
 */
async function dyingDaemon({ orderly = false } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'gone-'));
  const server = createServer((request, response) => {
    if (request.url!.endsWith('/_ping')) {
      response.setHeader('Api-Version', '1.51').end('OK');
      return;
    }
    if (!orderly) response.write(' ', () => response.destroy());
    else if (request.url!.endsWith('/json')) response.end('{"Config":{"Tty":true}}');
    else {
      server.close();
      response.setHeader('connection', 'close').end();
    }
  });
  server.listen(join(folder, 's'));
  await once(server, 'listening');
  return {
    host: `unix://${join(folder, 's')}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await rm(folder, { recursive: true });
    },
  };
}

describe('a daemon', () => {
  it.each([[['ps']], [['events']], [['logs', '-f', 'c']], [['wait', 'c']], [['stats', 'c']]])(
    'that goes away in the middle of %j says so',
    async (args) => {
      await using daemon = await dyingDaemon();
      const { stderr, code } = await tare(daemon.host, args);
      expect(stderr).toContain(
        "the daemon went away. Containers go on without it; 'tare version' tells whether it is back\n",
      );
      expect(stderr.trim().split('\n')).toHaveLength(1);
      expect(code).toBe(1);
    },
  );

  it.each([[['events']], [['logs', '-f', 'c']]])(
    'that stops, and ends %j with it, is missed',
    async (args) => {
      await using daemon = await dyingDaemon({ orderly: true });
      const { stderr, code } = await tare(daemon.host, args);
      expect(stderr).toMatch(/^Cannot connect to the Tare daemon at .*\n$/);
      expect(code).toBe(1);
    },
  );

  it('that stops before a container does is no end of the container', async () => {
    const answer = { StatusCode: -1, Error: { Message: 'the daemon is stopping' } };
    await using peer = await startPeer((seen, path) =>
      path.endsWith('/wait') ? { json: answer } : machine()(seen, path),
    );
    const { stdout, stderr, code } = await tare(peer.host, ['wait', 'd1']);
    expect({ stdout, stderr, code }).toEqual({ stdout: '', stderr: 'd1: the daemon is stopping\n', code: 1 });
  });

  it('whose address cannot be is told by what is wrong with it', async () => {
    const path = `/${'x'.repeat(120)}`;
    const long = await tare(`unix://${path}`, ['ps']);
    expect(long.stderr).toBe(
      `error during connect: unix://${path}: the path has 121 bytes, and that of a socket at most 107\n`,
    );
    const nowhere = await tare('tcp://no-such-host.invalid:2375', ['ps']);
    expect(nowhere.stderr).toMatch(/the name no-such-host\.invalid is not known, or cannot be looked up now/);
  });
});
