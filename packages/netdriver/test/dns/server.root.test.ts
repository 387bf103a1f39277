/** The name server of a sandbox, asked by a real resolver inside of it. Needs root and a network namespace of its own. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, readdirSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { promisify } from 'node:util';
import { openNetworkNamespace, openSocket } from '@tare/runtime-native/netlink';
import { expect, it } from 'vitest';

import { bringUpLoopback, openDnsServer, type DnsZone } from '../../src/index.ts';
import { decodeQuery, encodeAnswer } from '../../src/dns/message.ts';
import { describeInNamespace, Lab } from '../lab/namespaces.ts';

const run = promisify(execFile);

/** Runs a program with a resolver `dns` inside the sandbox; returns what it printed, parsed. */
async function inside(sandbox: string, expression: string): Promise<unknown> {
  const program = `
    const dns = new (require('node:dns').promises.Resolver)({ timeout: 3000, tries: 1 });
    dns.setServers(['127.0.0.11']);
    (async () => ${expression})().then((value) => value, (error) => error.code).then((v) => console.log(JSON.stringify(v)));`;
  const { stdout } = await run('nsenter', [`--net=${sandbox}`, process.execPath, '-e', program]);
  return JSON.parse(stdout);
}

/** A name server on this side that answers every A query with `address`, and counts. */
class FakeUpstream implements AsyncDisposable {
  readonly asked: string[] = [];
  readonly port: number;
  readonly #udp: Socket;
  readonly #tcp: Server;

  private constructor(udp: Socket, tcp: Server, answer: (query: Uint8Array, tcp: boolean) => Uint8Array) {
    this.#udp = udp;
    this.#tcp = tcp;
    this.port = udp.address().port;
    const heard = (query: Uint8Array, how: string): Uint8Array => {
      this.asked.push(`${how} ${decodeQuery(query).name}`);
      return answer(query, how === 'tcp');
    };
    udp.on('message', (query, from) => udp.send(heard(query, 'udp'), from.port, from.address));
    tcp.on('connection', (socket) => {
      socket.on('error', () => socket.destroy());
      socket.on('data', (data) => {
        const message = heard(data.subarray(2), 'tcp');
        socket.end(Buffer.concat([Buffer.from([message.length >> 8, message.length & 0xff]), message]));
      });
    });
  }

  static async open(answer: (query: Uint8Array, tcp: boolean) => Uint8Array): Promise<FakeUpstream> {
    for (;;) {
      const tcp = createServer().listen(0, '127.0.0.1');
      await once(tcp, 'listening');
      const { port } = tcp.address() as { port: number };
      const udp = createSocket('udp4').bind(port, '127.0.0.1');
      const bound = await Promise.race([
        once(udp, 'listening').then(() => true),
        once(udp, 'error').then(() => false),
      ]);
      if (bound) return new FakeUpstream(udp, tcp, answer);
      tcp.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#udp.close();
    this.#tcp.close();
  }
}

const answering = (address: string) => (query: Uint8Array) =>
  encodeAnswer(decodeQuery(query), { records: [{ type: 1, ttlSeconds: 5, address }] });

function zone(fields: Partial<DnsZone> = {}): DnsZone {
  const names: Record<string, string[]> = {
    web: ['10.1.0.2', '10.1.0.3'],
    'web.front': ['10.1.0.2'],
    six: ['fd00::5'],
    many: Array.from({ length: 60 }, (_, i) => `10.2.0.${i + 1}`),
  };
  return {
    addresses: (name) => names[name],
    nameOf: (address) => (address === '10.1.0.2' ? 'web.front' : undefined),
    upstreams: () => [],
    ...fields,
  };
}

async function sandboxWithLoopback(lab: Lab): Promise<string> {
  const sandbox = await lab.sandbox();
  await bringUpLoopback(sandbox);
  return sandbox;
}

describeInNamespace('the name server of a sandbox', () => {
  it('answers names, in any case and of either family, and addresses', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    await using _server = await openDnsServer({ sandbox, zone: zone() });
    const answers = await inside(
      sandbox,
      `[(await dns.resolve4('WEB')).sort(), await dns.resolve4('web.front'), await dns.resolve6('six'),
        await dns.reverse('10.1.0.2'), await dns.resolve4('six').catch((e) => e.code)]`,
    );
    // a name that is known has no addresses of the other family, which is not to be unknown
    expect(answers).toEqual([['10.1.0.2', '10.1.0.3'], ['10.1.0.2'], ['fd00::5'], ['web.front'], 'ENODATA']);
  });

  it('gives what does not fit a datagram over TCP', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    await using _server = await openDnsServer({ sandbox, zone: zone() });
    expect(await inside(sandbox, `(await dns.resolve4('many')).length`)).toBe(60);
  });

  it('asks others for what it does not know, each for itself, and nobody for what it does', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    await using dead = await FakeUpstream.open(() => new Uint8Array());
    await using upstream = await FakeUpstream.open(answering('192.0.2.7'));
    const upstreams = () => [
      { address: '127.0.0.1', port: dead.port },
      { address: '127.0.0.1', port: upstream.port },
    ];
    await using _server = await openDnsServer({ sandbox, zone: zone({ upstreams }) });
    expect(await inside(sandbox, `await dns.resolve4('example.test')`)).toEqual(['192.0.2.7']);
    await inside(sandbox, `[await dns.resolve4('web'), await dns.resolve6('web').catch((e) => e.code)]`);
    expect(upstream.asked).toEqual(['udp example.test']);
  });

  it('hands a question over TCP on over TCP', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    await using upstream = await FakeUpstream.open((query, tcp) => {
      const answer = Buffer.from(answering('192.0.2.8')(query));
      // truncated
      if (!tcp) answer[2]! |= 0x02;
      return answer;
    });
    const upstreams = () => [{ address: '127.0.0.1', port: upstream.port }];
    await using _server = await openDnsServer({ sandbox, zone: zone({ upstreams }) });
    expect(await inside(sandbox, `await dns.resolve4('large.test')`)).toEqual(['192.0.2.8']);
    expect(upstream.asked).toEqual(['udp large.test', 'tcp large.test']);
  });

  it('says that it failed when there is nobody to ask, and asks from the sandbox where it should', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    await using outside = await FakeUpstream.open(answering('192.0.2.9'));
    let upstreams: ReturnType<DnsZone['upstreams']> = [];
    await using _server = await openDnsServer({ sandbox, zone: zone({ upstreams: () => upstreams }) });
    expect(await inside(sandbox, `await dns.resolve4('example.test')`)).toBe('ESERVFAIL');
    // the sandbox's loopback is another one: nobody is there
    upstreams = [{ address: '127.0.0.1', port: outside.port, from: 'sandbox' }];
    expect(await inside(sandbox, `await dns.resolve4('example.test')`)).toBe('ESERVFAIL');
    expect(outside.asked).toEqual([]);
  });

  it('asks the next server where one fails or refuses, and three of them at most', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    const failing = (code: number) => (query: Uint8Array) => encodeAnswer(decodeQuery(query), { code });
    await using broken = await FakeUpstream.open(failing(2));
    await using unwilling = await FakeUpstream.open(failing(5));
    await using knowing = await FakeUpstream.open(answering('192.0.2.10'));
    let servers = [broken, unwilling, knowing];
    const upstreams = () => servers.map(({ port }) => ({ address: '127.0.0.1', port }));
    await using _server = await openDnsServer({ sandbox, zone: zone({ upstreams }) });
    expect(await inside(sandbox, `await dns.resolve4('example.test')`)).toEqual(['192.0.2.10']);
    servers = [broken, unwilling, broken, knowing];
    expect(await inside(sandbox, `await dns.resolve4('other.test')`)).toBe('ESERVFAIL');
    expect(knowing.asked).toEqual(['udp example.test']);
    // a name that does not exist is an answer
    await using denying = await FakeUpstream.open(failing(3));
    servers = [denying, knowing];
    expect(await inside(sandbox, `await dns.resolve4('none.test')`)).toBe('ENOTFOUND');
    expect(knowing.asked).toEqual(['udp example.test']);
  });

  it('takes no answer to another question, nor one with the id that the container chose', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    const ids: number[] = [];
    const other = Buffer.from('\x05wrong\x04test\x00', 'latin1');
    await using lying = await FakeUpstream.open((query) => {
      ids.push(query[0]! * 256 + query[1]!);
      const answer = Buffer.from(answering('192.0.2.66')(query));
      other.copy(answer, 12);
      return answer;
    });
    await using honest = await FakeUpstream.open(answering('192.0.2.11'));
    const upstreams = () => [lying, honest].map(({ port }) => ({ address: '127.0.0.1', port }));
    await using _server = await openDnsServer({ sandbox, zone: zone({ upstreams }) });
    const program = `(async () => {
      const socket = require('node:dgram').createSocket('udp4');
      const query = Buffer.from('123401000001000000000000' + '056f74686572' + '0474657374' + '0000010001', 'hex');
      socket.send(query, 53, '127.0.0.11');
      const [answer] = await require('node:events').once(socket, 'message');
      socket.close();
      return [answer.subarray(0, 2).toString('hex'), [...answer.subarray(-4)].join('.')];
    })()`;
    expect(await inside(sandbox, program)).toEqual(['1234', '192.0.2.11']);
    expect(ids).not.toEqual([0x1234]);
  });

  it('asks over TCP from the sandbox, too', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    const agent = await lab.agent(sandbox);
    // nobody answers in the sandbox but the agent, and that not in DNS: it is asked, and that is what counts
    await agent.serve('not dns', 5353);
    await using outside = await FakeUpstream.open(answering('192.0.2.12'));
    const upstreams = () => [
      { address: '127.0.0.1', port: 5353, from: 'sandbox' as const },
      { address: '127.0.0.1', port: outside.port },
    ];
    await using _server = await openDnsServer({ sandbox, zone: zone({ upstreams }) });
    const program = `(async () => {
      const query = Buffer.from('001d' + '123401000001000000000000' + '056f74686572' + '0474657374' + '0000010001', 'hex');
      query.writeUInt16BE(query.length - 2);
      const tcp = require('node:net').connect(53, '127.0.0.11');
      tcp.write(query);
      const [answer] = await require('node:events').once(tcp, 'data');
      tcp.destroy();
      return [...answer.subarray(-4)].join('.');
    })()`;
    expect(await inside(sandbox, program)).toBe('192.0.2.12');
    expect(outside.asked).toEqual(['tcp other.test']);
  });

  it('serves others while one client dawdles over TCP, floods, or sends nothing (CVE-2024-8418, CVE-2026-35406)', async () => {
    await using lab = await Lab.open();
    const [slow, quick] = [await sandboxWithLoopback(lab), await sandboxWithLoopback(lab)];
    await using _first = await openDnsServer({ sandbox: slow, zone: zone() });
    await using _second = await openDnsServer({ sandbox: quick, zone: zone() });
    const program = `(async () => {
      const net = require('node:net');
      const idle = Array.from({ length: 100 }, () => net.connect(53, '127.0.0.11').on('error', () => {}));
      for (const socket of idle) socket.write(Buffer.from([0xff]));
      const half = net.connect(53, '127.0.0.11').on('error', () => {});
      half.write(Buffer.concat([Buffer.from([0xff, 0xff]), Buffer.alloc(60000)]));
      // answered over UDP all the same
      const answer = await dns.resolve4('web.front');
      for (const socket of [...idle, half]) socket.destroy();
      return answer;
    })()`;
    const [answer, other] = await Promise.all([
      inside(slow, program),
      inside(quick, `await dns.resolve4('many').then((all) => all.length)`),
    ]);
    expect([answer, other]).toEqual([['10.1.0.2'], 60]);
  });

  it('leaves port 53 to programs of the container, and takes the place of a server that is gone', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    const first = await openDnsServer({ sandbox, zone: zone() });
    const netns = openNetworkNamespace(sandbox);
    for (const protocol of ['udp', 'tcp'] as const) {
      closeSync(openSocket({ protocol, netns, address: '0.0.0.0', port: 53 }).fd);
    }
    closeSync(netns);
    await first[Symbol.asyncDispose]();
    expect(await inside(sandbox, `await dns.resolve4('web.front')`)).toBe('ECONNREFUSED');
    await using _second = await openDnsServer({ sandbox, zone: zone() });
    expect(await inside(sandbox, `await dns.resolve4('web.front')`)).toEqual(['10.1.0.2']);
  });

  it('survives what is no question, and answers the next', async () => {
    await using lab = await Lab.open();
    const sandbox = await sandboxWithLoopback(lab);
    await using _server = await openDnsServer({ sandbox, zone: zone() });
    const garbage = Array.from({ length: 50 }, (_, i) => randomBytes(i * 7).toString('hex'));
    const program = `(async () => {
      const dgram = require('node:dgram').createSocket('udp4');
      for (const hex of ${JSON.stringify(garbage)}) dgram.send(Buffer.from(hex, 'hex'), 53, '127.0.0.11');
      for (const hex of ${JSON.stringify(garbage.slice(0, 8))}) {
        const tcp = require('node:net').connect(53, '127.0.0.11');
        tcp.on('error', () => {});
        tcp.end(Buffer.from(hex, 'hex'));
        await new Promise((resolve) => tcp.on('close', resolve).resume());
      }
      dgram.close();
      return dns.resolve4('web.front');
    })()`;
    expect(await inside(sandbox, program)).toEqual(['10.1.0.2']);
  });

  it('leaves no descriptor and no namespace behind', async () => {
    await using lab = await Lab.open();
    const before = readdirSync('/proc/self/fd').length;
    const sandbox = await sandboxWithLoopback(lab);
    for (let i = 0; i < 5; i += 1) {
      await using _server = await openDnsServer({ sandbox, zone: zone() });
    }
    expect(readdirSync('/proc/self/fd').length).toBe(before);
    await expect(openDnsServer({ sandbox: '/none', zone: zone() })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });
});
