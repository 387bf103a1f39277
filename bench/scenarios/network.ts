/** Endpoints and published ports: what they cost, alone and among many, and what packets lose by them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import { createBridgeDriver, openAddressBook, type BridgeDriver } from '@tare/netdriver';
import { createNetworkNamespace, removeNetworkNamespace } from '@tare/runtime-native/netlink';
import { Lab } from '../../packages/netdriver/test/lab/namespaces.ts';
import { byHand, cni, netavark, throughput, type NetworkPeer } from '../network-peers.ts';
import type { Bench, Scenario } from '../scenario.ts';

const MANY_PORTS = 10_000;
const ENDPOINTS = 1000;
const DETACHED = 200;

export const scenario: Scenario = {
  title: 'Container networks',
  async run(bench: Bench) {
    const folder = await mkdtemp(join(tmpdir(), 'tare-bench-net-'));
    bench.stack.defer(() => rm(folder, { recursive: true, force: true }));
    await attachBesidePeers(bench, folder);
    await growth(bench, folder);
    await ports(bench);
    await packets(bench);
  },
};

/** Our driver as an engine uses it: what is made is written down, and where networks are shared what is taken, too. */
function ours(folder: string, { shared }: { shared: boolean }): NetworkPeer & { driver: BridgeDriver } {
  const book = shared ? openAddressBook(join(folder, 'addresses.db')) : undefined;
  const db = new DatabaseSync(join(folder, 'endpoints.db'));
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
  db.exec('CREATE TABLE endpoint (id TEXT PRIMARY KEY, record TEXT)');
  const save = db.prepare('INSERT INTO endpoint VALUES (?, ?)');
  const forget = db.prepare('DELETE FROM endpoint WHERE id = ?');
  const driver = createBridgeDriver({ name: 'bench', ...(book && { addressBook: book }) });
  return {
    name: '@tare/netdriver',
    driver,
    async attach(sandbox, id, hostPort) {
      const ports = [{ protocol: 'tcp' as const, containerPort: 80, hostIp: '0.0.0.0', hostPort }];
      save.run(id, JSON.stringify(await driver.attach('bench', { id, sandbox, ports })));
    },
    async detach(_sandbox, id) {
      await driver.detach('bench', id);
      forget.run(id);
    },
    async close() {
      await driver.destroy();
      book?.[Symbol.dispose]();
      db.close();
    },
  };
}

async function attachBesidePeers(bench: Bench, folder: string): Promise<void> {
  const own = ours(folder, { shared: true });
  await own.driver.createNetwork({ id: 'bench', bridgeName: 'bench0' });
  const others = [await netavark(join(folder, 'netavark')), cni(join(folder, 'cni'))];
  if (!others[0]) bench.absent('netavark', 'not installed (Debian: netavark)');
  if (!others[1])
    bench.absent('CNI bridge and portmap', 'not installed (Debian: containernetworking-plugins)');
  const peers = [own, ...others.filter((peer) => peer !== undefined)];
  let count = 0;
  const round = async (peer: NetworkPeer, measured: 'attach' | 'detach'): Promise<number> => {
    const id = `c${++count}`;
    const sandbox = join(folder, id);
    const hostPort = 20_000 + count;
    await createNetworkNamespace(sandbox);
    try {
      const began = performance.now();
      await peer.attach(sandbox, id, hostPort);
      const attached = performance.now();
      await peer.detach(sandbox, id, hostPort);
      const detached = performance.now();
      return measured === 'attach' ? attached - began : detached - attached;
    } finally {
      await removeNetworkNamespace(sandbox);
      // what is left to the kernel is not the next one's
      await setTimeout(50);
    }
  };
  try {
    for (const measured of ['attach', 'detach'] as const) {
      await bench.compare(
        measured === 'attach' ? 'One endpoint with one published port: attach' : 'The same endpoint: detach',
        peers.map((peer) => ({ name: peer.name, once: () => round(peer, measured) })),
      );
    }
    bench.note(
      'Ours writes addresses and endpoints to SQLite; the sandbox is made outside of what is measured. The peers are run as ' +
        'podman and CNI runtimes run them; netavark is given its addresses.',
    );
  } finally {
    for (const peer of peers) await peer.close();
  }
}

/** The first, the hundredth and the thousandth endpoint, and two hundred that go. */
async function growth(bench: Bench, folder: string): Promise<void> {
  const own = ours(await mkdtemp(join(folder, 'growth-')), { shared: false });
  await own.driver.createNetwork({ id: 'bench', bridgeName: 'bench1' });
  const sandboxes = Array.from({ length: ENDPOINTS }, (_, i) => join(folder, `g${i}`));
  const times: number[] = [];
  try {
    for (const [i, sandbox] of sandboxes.entries()) {
      await createNetworkNamespace(sandbox);
      const began = performance.now();
      await own.attach(sandbox, `g${i}`, 20_000 + i);
      times.push(performance.now() - began);
    }
    const around = (at: number) => median(times.slice(Math.max(0, at - 10), at + 10));
    bench.table(
      'Attach among others on one network (median of 20, ms)',
      ['', '1st', '100th', '500th', '1000th'],
      [['@tare/netdriver', ...[10, 100, 500, ENDPOINTS - 10].map((at) => around(at).toFixed(2))]],
    );
    const each: number[] = [];
    const began = performance.now();
    for (let i = 0; i < DETACHED; i++) {
      const start = performance.now();
      await own.detach(sandboxes[i]!, `g${i}`, 20_000 + i);
      each.push(performance.now() - start);
    }
    const all = performance.now() - began;
    const others = Array.from({ length: DETACHED }, (_, i) => DETACHED + i);
    const begunTogether = performance.now();
    await Promise.all(others.map((i) => own.detach(sandboxes[i]!, `g${i}`, 20_000 + i)));
    const together = performance.now() - begunTogether;
    bench.table(
      `Detach of ${DETACHED} endpoints of ${ENDPOINTS}`,
      ['', 'one after the other, ms', 'median of one, ms', 'all at once, ms'],
      [['@tare/netdriver', all.toFixed(0), median(each).toFixed(2), together.toFixed(0)]],
    );
  } finally {
    await own.close();
    for (const sandbox of sandboxes) await removeNetworkNamespace(sandbox);
  }
}

/** Publishing one port more, with none and with ten thousand there. */
async function ports(bench: Bench): Promise<void> {
  await using lab = await Lab.open();
  const driver = createBridgeDriver({ name: 'benchports' });
  lab.defer(() => driver.destroy());
  await driver.createNetwork({ id: 'n', bridgeName: 'bench2' });
  for (const id of ['many', 'one']) await driver.attach('n', { id, sandbox: await lab.sandbox() });
  const rows: (string | number)[][] = [];
  for (const present of [0, 100, 1000, MANY_PORTS]) {
    const have = (await driver.endpoints('n')).find(({ id }) => id === 'many')!.ports.length;
    await driver.publish('n', 'many', range(10_000 + have, present - have));
    const [added, removed]: [number[], number[]] = [[], []];
    for (let i = 0; i < 200; i++) {
      const began = performance.now();
      const made = await driver.publish('n', 'one', range(40_000 + i, 1));
      const published = performance.now();
      await driver.unpublish('n', 'one', made);
      added.push(published - began);
      removed.push(performance.now() - published);
    }
    rows.push([present, median(added).toFixed(3), median(removed).toFixed(3)]);
  }
  bench.table('One TCP port more (median of 200, ms)', ['ports there', 'publish', 'unpublish'], rows);
}

/** What packets lose on the way, beside a bridge and a rule made by hand. */
async function packets(bench: Bench): Promise<void> {
  await using lab = await Lab.open();
  const driver = createBridgeDriver({ name: 'benchflow' });
  lab.defer(() => driver.destroy());
  await driver.createNetwork({ id: 'n', bridgeName: 'bench3', subnets: [{ subnet: '10.97.0.0/24' }] });
  const sandboxes: [string, string] = [await lab.sandbox(), await lab.sandbox()];
  const server = await driver.attach('n', {
    id: 'server',
    sandbox: sandboxes[0],
    ports: [{ protocol: 'tcp', containerPort: 5201, hostIp: '0.0.0.0', hostPort: 25_201 }],
  });
  await driver.attach('n', { id: 'client', sandbox: sandboxes[1] });
  const lan = await lab.lan({ routed: true });
  const hand = byHand(sandboxes);
  lab.defer(async () => hand[Symbol.asyncDispose]());
  const daemon = spawn('nsenter', [`--net=${sandboxes[0]}`, 'iperf3', '-s'], { stdio: 'ignore' });
  const ended = once(daemon, 'exit');
  try {
    await setTimeout(500);
    const own = server.ipv4Address!.split('/')[0]!;
    const paths: [string, () => Promise<number>, () => Promise<number>][] = [
      [
        'container to container',
        () => throughput(sandboxes[1], own, 5201),
        () => throughput(sandboxes[1], hand.addresses[0], 5201),
      ],
      [
        'LAN to published port',
        () => throughput(lan.path, lan.hostAddress, 25_201),
        () => throughput(lan.path, lan.hostAddress, 15_201),
      ],
    ];
    const rows: string[][] = [];
    for (const [name, ours, theirs] of paths) {
      const results: [number[], number[]] = [[], []];
      for (let round = 0; round < Math.min(bench.rounds, 10); round++) {
        results[0].push(await ours());
        results[1].push(await theirs());
      }
      const [a, b] = results.map(median) as [number, number];
      rows.push([name, a.toFixed(2), b.toFixed(2), (a / b).toFixed(2)]);
    }
    bench.table(
      `Throughput of iperf3, Gbit/s (median of ${Math.min(bench.rounds, 10)} runs of 2 s, taking turns)`,
      ['', '@tare/netdriver', 'ip and nft by hand', 'ours / by hand'],
      rows,
    );
  } finally {
    daemon.kill();
    await ended;
  }
}

function range(from: number, count: number) {
  return Array.from({ length: Math.max(0, count) }, (_, i) => ({
    protocol: 'tcp' as const,
    containerPort: 80,
    hostIp: '0.0.0.0',
    hostPort: from + i,
  }));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
