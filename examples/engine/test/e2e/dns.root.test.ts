/** Names of containers on users' networks, with the stock CLI. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`names${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
    await lab.ok(['network', 'create', 'front']);
    await lab.ok(['network', 'create', 'back']);
    const serve = 'echo $HOSTNAME > /index.html; httpd -f -p 80';
    const flags = ['--network', 'front', '--network-alias', 'Shop', '-h', 'webhost'];
    await lab.ok(['run', '-d', '--name', 'web', ...flags, lab.busybox, 'sh', '-c', serve]);
    await lab.ok(['run', '-d', '--name', 'db', '--network', 'back', lab.busybox, 'sleep', '600']);
    await lab.ok(['run', '-d', '--name', 'client', '--network', 'front', lab.busybox, 'sleep', '600']);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const addressOf = (name: string, network: string): Promise<string> =>
    lab.ok(['inspect', '-f', `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`, name]);
  /** What a resolver in a container says: the addresses, or nothing. */
  async function lookUp(container: string, name: string): Promise<string[]> {
    const { stdout } = await lab.docker(['exec', container, 'nslookup', name]);
    return [...stdout.matchAll(/^Address(?: \d+)?: (\d+\.\d+\.\d+\.\d+)(?! *:?53)/gm)]
      .map((match) => match[1]!)
      .filter((address) => address !== '127.0.0.11');
  }

  test('containers find each other by name, alias, short id, host name, and with the network behind it', async () => {
    const address = await addressOf('web', 'front');
    const id = (await lab.ok(['inspect', '-f', '{{.Id}}', 'web'])).slice(0, 12);
    for (const name of ['web', 'shop', 'SHOP', id, 'webhost', 'web.front']) {
      expect(await lookUp('client', name), name).toEqual([address]);
    }
    expect(await lab.ok(['exec', 'client', 'wget', '-qO-', 'http://web/'])).toBe('webhost');
    expect(await lab.ok(['exec', 'client', 'cat', '/etc/resolv.conf'])).toMatch(
      /^nameserver 127\.0\.0\.11\n(search .*\n)?options (\S+ )*ndots:0$/,
    );
    const { stdout } = await lab.docker(['exec', 'client', 'nslookup', address]);
    expect(stdout).toContain('web.front');
  });

  test('nobody is found from another network, until connected to it, and no more afterwards', async () => {
    expect(await lookUp('client', 'db')).toEqual([]);
    await lab.ok(['network', 'connect', '--alias', 'store', 'back', 'client']);
    expect(await lookUp('client', 'db')).toEqual([await addressOf('db', 'back')]);
    expect(await lookUp('db', 'store')).toEqual([await addressOf('client', 'back')]);
    await lab.ok(['network', 'disconnect', 'back', 'client']);
    expect(await lookUp('client', 'db')).toEqual([]);
  });

  test('several containers share an alias', async () => {
    for (const name of ['one', 'two']) {
      const flags = ['--network', 'front', '--network-alias', 'pool'];
      await lab.ok(['run', '-d', '--name', name, ...flags, lab.busybox, 'sleep', '600']);
    }
    const both = [await addressOf('one', 'front'), await addressOf('two', 'front')].sort();
    expect((await lookUp('client', 'pool')).sort()).toEqual(both);
    await lab.ok(['rm', '-f', 'one']);
    expect(await lookUp('client', 'pool')).toEqual([await addressOf('two', 'front')]);
    await lab.ok(['rename', 'two', 'renamed']);
    expect(await lookUp('client', 'renamed')).toEqual([await addressOf('renamed', 'front')]);
    expect(await lookUp('client', 'two')).toEqual([]);
    await lab.ok(['rm', '-f', 'renamed']);
  });

  test('the default bridge has no names, until a container joins a network of a user', async () => {
    await lab.ok(['run', '-d', '--name', 'plain', lab.busybox, 'sleep', '600']);
    expect(await lab.ok(['exec', 'plain', 'cat', '/etc/resolv.conf'])).not.toContain('127.0.0.11');
    await lab.ok(['network', 'connect', 'front', 'plain']);
    expect(await lab.ok(['exec', 'plain', 'cat', '/etc/resolv.conf'])).toContain('127.0.0.11');
    expect(await lookUp('plain', 'web')).toEqual([await addressOf('web', 'front')]);
    await lab.ok(['rm', '-f', 'plain']);
  });

  test('other names go to the servers that were asked for, by way of the container; from an internal network nowhere', async () => {
    const gateway = await lab.ok(['network', 'inspect', '-f', '{{(index .IPAM.Config 0).Gateway}}', 'front']);
    const asked: string[] = [];
    const upstream = createSocket('udp4');
    upstream.on('message', (query, from) => {
      asked.push(from.address);
      // refused: that it was asked is what counts
      const answer = Buffer.from(query);
      answer[2]! |= 0x80;
      answer[3] = 5;
      upstream.send(answer, from.port, from.address);
    });
    upstream.bind(53, gateway);
    await once(upstream, 'listening');
    try {
      const flags = ['--network', 'front', '--dns', gateway];
      await lab.ok(['run', '-d', '--name', 'asking', ...flags, lab.busybox, 'sleep', '600']);
      await lookUp('asking', 'example.test');
      const own = await addressOf('asking', 'front');
      expect(asked.length).toBeGreaterThan(0);
      expect(new Set(asked)).toEqual(new Set([own]));
      await lab.ok(['rm', '-f', 'asking']);

      asked.length = 0;
      await lab.ok(['network', 'create', '--internal', 'closed']);
      const closed = ['--network', 'closed', '--dns', gateway];
      await lab.ok(['run', '-d', '--name', 'inside', ...closed, lab.busybox, 'sleep', '600']);
      await lookUp('inside', 'example.test');
      expect(await lookUp('inside', 'inside')).toEqual([await addressOf('inside', 'closed')]);
      expect(asked).toEqual([]);
      await lab.ok(['rm', '-f', 'inside']);
    } finally {
      upstream.close();
    }
  });

  test('names are there again after the daemon was killed and started', async () => {
    await lab.restartDaemon('SIGKILL');
    expect(await lookUp('client', 'web')).toEqual([await addressOf('web', 'front')]);
  });
});
