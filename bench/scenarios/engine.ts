/** What an engine's users wait for besides `run`: exec, many containers at once, lists, logs; and what the engine weighs. */
import { RegistryClient } from '@tare/registry-client';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { COMPONENTS, componentPath } from '../../test/lab/debian.ts';
import { busyboxLayer, pushImage } from '../../test/lab/images.ts';
import { startPeers, type Peer } from '../peers.ts';
import type { Bench, Scenario } from '../scenario.ts';

const MANY = 20;
const AT_ONCE = 4;
const CROWD = 500;
const LOG_BYTES = 100_000_000;
/** Threads and shims that have nothing to do are gone after this. */
const SETTLED_MS = 8_000;

export const scenario: Scenario = {
  title: 'The engine: exec, many containers, lists, logs, weight',
  async run(bench: Bench) {
    const { list, absent, image } = bench.stack.use(
      await startPeers(async (host) => {
        const busybox = componentPath(COMPONENTS.busybox);
        if (busybox === undefined) throw new Error('needs busybox-static: npm test fetches it');
        const repository = new RegistryClient().repository(`${host}/busybox`);
        await pushImage(repository, 'latest', { layers: [await busyboxLayer(busybox)] });
        return `${host}/busybox`;
      }),
    );
    const compare = (
      title: string,
      work: (peer: Peer) => Promise<number | void> | number | void,
      rounds: number,
    ) =>
      bench.compare(
        title,
        list.map((peer) => ({
          name: `${peer.name} ${peer.version}, ${peer.client}`,
          once: () => work(peer),
        })),
        { rounds },
      );
    const few = Math.max(3, Math.round(bench.rounds / 5));
    const up = (peer: Peer, ...more: string[]): string[] => [
      'run',
      '-d',
      ...peer.runFlags,
      ...more,
      image,
      'sleep',
      '9999',
    ];

    // what was started for the pull has ended by then
    await setTimeout(SETTLED_MS);
    const idle = list.map(residentKb);
    const crew = Array.from({ length: MANY }, (_, index) => `weight-${index}`);
    for (const peer of list) await inParallel(crew, (name) => callAsync(peer, ...up(peer, '--name', name)));
    await setTimeout(SETTLED_MS);
    const loaded = list.map(residentKb);
    for (const peer of list) remove(peer, ...crew);

    for (const peer of list) call(peer, ...up(peer, '--name', 'one'));
    await compare('exec true', (peer) => void call(peer, 'exec', 'one', 'true'), bench.rounds);

    let round = 0;
    await compare(
      `run -d of ${MANY}, ${AT_ONCE} at a time`,
      async (peer) => {
        round += 1;
        const names = Array.from({ length: MANY }, (_, index) => `many-${round}-${index}`);
        const began = performance.now();
        await inParallel(names, (name) => callAsync(peer, ...up(peer, '--name', name)));
        const took = performance.now() - began;
        remove(peer, ...names);
        return took;
      },
      few,
    );
    await compare(
      `rm -f of ${MANY} that run`,
      async (peer) => {
        round += 1;
        const names = Array.from({ length: MANY }, (_, index) => `gone-${round}-${index}`);
        await inParallel(names, (name) => callAsync(peer, ...up(peer, '--name', name)));
        const began = performance.now();
        remove(peer, ...names);
        return performance.now() - began;
      },
      few,
    );
    for (const peer of list) {
      const lines = `yes 'a line of a log, as long as lines of logs are now and then, with a time and a level' | head -c ${LOG_BYTES}`;
      call(
        peer,
        'run',
        '-d',
        '--name',
        'log',
        ...peer.runFlags,
        '--log-opt',
        'max-size=1g',
        image,
        'sh',
        '-c',
        lines,
      );
      call(peer, 'wait', 'log');
    }
    await compare(`logs of ${LOG_BYTES / 1e6} MB`, (peer) => void call(peer, 'logs', 'log'), few);

    for (const peer of list) remove(peer, 'one');

    for (const peer of list) {
      const names = Array.from({ length: CROWD }, (_, index) => `crowd-${index}`);
      await inParallel(names, (name) =>
        callAsync(peer, 'create', ...peer.runFlags, '--name', name, image, 'true'),
      );
    }
    await compare(`ps -a with ${CROWD} containers`, (peer) => void call(peer, 'ps', '-a'), bench.rounds);
    await compare('inspect', (peer) => void call(peer, 'inspect', 'crowd-250'), bench.rounds);
    await setTimeout(SETTLED_MS);
    const worked = list.map(residentKb);
    const megabytes = (kb: number | undefined): string => (kb === undefined ? '-' : (kb / 1024).toFixed(0));
    bench.table(
      'Resident memory of the daemon and all that it runs for containers, MB',
      ['', 'idle', `with ${MANY} containers`, 'for each container', 'idle, after all of the above'],
      list.map((peer, index) => [
        peer.name,
        megabytes(idle[index]),
        megabytes(loaded[index]),
        idle[index] === undefined ? '-' : ((loaded[index]! - idle[index]) / 1024 / MANY).toFixed(2),
        megabytes(worked[index]),
      ]),
    );
    const starts: (string | number)[][] = [];
    for (const peer of list) {
      const pid = pidOf(peer);
      if (pid === undefined) continue;
      const times: number[] = [];
      for (let index = 0; index < 3; index += 1) times.push(await restart(bench, peer));
      starts.push([peer.name, Math.min(...times).toFixed(0)]);
    }
    bench.table(
      `From the start of the daemon to its first answer, with ${CROWD + 1} containers, ms`,
      ['', 'best of 3'],
      starts,
    );
    bench.note('The daemon of podman is none: each command starts for itself.');
    for (const { name, reason } of absent) bench.absent(name, reason);
  },
};

/** At once: podman would wait ten seconds for what ignores SIGTERM. */
function remove(peer: Peer, ...names: string[]): void {
  call(peer, 'rm', '-f', ...(peer.name === 'podman' ? ['--time', '0'] : []), ...names);
}

function call(peer: Peer, ...args: string[]): void {
  const [command, ...rest] = [...peer.cli, ...args];
  // a log is read and thrown away
  const stdio = args[0] === 'logs' ? ('ignore' as const) : ('pipe' as const);
  const result = spawnSync(command!, rest, {
    encoding: 'utf8',
    env: peer.env,
    stdio: ['ignore', stdio, 'pipe'],
  });
  if (result.status !== 0)
    throw new Error(`${peer.name} failed: ${args.slice(0, 6).join(' ')}\n${result.stderr}`);
}

async function callAsync(peer: Peer, ...args: string[]): Promise<void> {
  const [command, ...rest] = [...peer.cli, ...args];
  const child = spawn(command!, rest, { env: peer.env, stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${peer.name} failed: ${args.slice(0, 6).join(' ')}\n${errors}`);
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** The daemon's process; undefined for an engine without one. */
function pidOf(peer: Peer): number | undefined {
  try {
    return Number(readFileSync(join(peer.folder, 'pid'), 'utf8'));
  } catch {
    // podman
    return undefined;
  }
}

/** Memory of a daemon, of what it has started, and of what it has left beside its containers. */
function residentKb(peer: Peer): number | undefined {
  const daemon = pidOf(peer);
  if (daemon === undefined) return undefined;
  let total = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      // shims and monitors know their engine by its folder; the programs in the containers do not count
      if (Number(pid) !== daemon && !command.includes(peer.folder)) continue;
      total += Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
    } catch {
      // ended meanwhile
    }
  }
  return total;
}

/** Ends the daemon and starts it again with the same command. @returns milliseconds to its first answer */
async function restart(bench: Bench, peer: Peer): Promise<number> {
  const pid = pidOf(peer)!;
  const [command, ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  const env = Object.fromEntries(
    readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
  );
  process.kill(pid, 'SIGTERM');
  while (alive(pid)) await setTimeout(20);
  const began = performance.now();
  const child = spawn(command!, args, { stdio: 'ignore', env });
  bench.stack.defer(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'close');
    child.kill('SIGTERM');
    await closed;
  });
  while (!(await answers(join(peer.folder, 's')))) await setTimeout(2);
  return performance.now() - began;
}

function alive(pid: number): boolean {
  try {
    // one that nobody has waited for yet is dead all the same
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

function answers(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ path });
  socket.on('error', () => resolve(false));
  socket.on('data', (data) => {
    resolve(data.toString().startsWith('HTTP/1.1 200'));
    socket.destroy();
  });
  socket.on('close', () => resolve(false));
  socket.write('GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n');
  return promise;
}
