/**
 * One container from create to delete, and each operation on it: our runtime in this process beside crun and runc, which
 * are started as programs by a shell that waits for nothing else.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { createNativeRuntime, defaultSeccompProfile, sweepCgroups, type Runtime } from '@tare/runtime-native';
import { defaultSpec, type Spec } from '@tare/runtime-native/spec';
import { COMPONENTS, componentPath, fetchComponents, packageFolder } from '../../test/lab/debian.ts';
import { compileStatic } from '../../test/lab/programs.ts';
import type { Bench, Contestant, Scenario } from '../scenario.ts';

const CGROUPS = '/tare-bench';
/** The newest runtime-spec that Debian's crun knows. */
const PEERS_VERSION = '1.0.2';
const NO_OP = ['/noop'];
/** Lives until it is killed. */
const SLEEPER = ['/busybox', 'sleep', '1000'];

export const scenario: Scenario = {
  title: 'Runtime: one container',
  async prepare() {
    await fetchComponents();
    // what cannot be had is said when it is missed
    await Promise.allSettled(['crun', 'runc', 'libyajl2'].map(packageFolder));
  },
  async run(bench) {
    const directory = await mkdtemp(join(tmpdir(), 'tare-bench-'));
    bench.stack.defer(() => rm(directory, { recursive: true, force: true }));
    bench.stack.defer(() => sweepCgroups(CGROUPS));
    // on a tmpfs, where every one of them has its state by default
    const states = await mkdtemp('/run/tare-bench-');
    bench.stack.defer(() => rm(states, { recursive: true, force: true }));
    const rootfs = await makeRootfs(directory);
    const runtime = createNativeRuntime({ stateDirectory: join(states, 'native') });
    const peers = await startPeers(bench, { directory, states, rootfs });

    await bench.compare('`run` of a static no-op: create, start, wait, delete', [
      ours(runtime, rootfs),
      ...peers.map((peer) => ({
        name: peer.name,
        once: () => peer.run(`run --bundle ${peer.bundle} ${id()}`),
      })),
    ]);
    await compareOperations(bench, runtime, rootfs, peers);

    const ballast = Buffer.alloc(1 << 30, 1);
    await bench.compare(
      `the same \`run\` while this process has ${gibibytes(process.memoryUsage().rss)} GiB`,
      [
        ours(runtime, rootfs),
        ...peers.map((peer) => ({
          name: peer.name,
          once: () => peer.run(`run --bundle ${peer.bundle} ${id()}`),
        })),
      ],
    );
    ballast.fill(0, 0, 1); // kept until here
    await measureMonitor(bench, runtime, rootfs);
    await measureSlope(bench, runtime, rootfs);
  },
};

let count = 0;
const id = (): string => `bench-${process.pid}-${(count += 1)}`;

async function makeRootfs(directory: string): Promise<string> {
  const rootfs = join(directory, 'rootfs');
  for (const name of ['proc', 'sys', 'dev']) await mkdir(join(rootfs, name), { recursive: true });
  await writeFile(join(rootfs, 'noop'), await compileStatic(join(import.meta.dirname, '..', 'noop.c')));
  await chmod(join(rootfs, 'noop'), 0o755);
  await copyFile(componentPath(COMPONENTS.busybox)!, join(rootfs, 'busybox'));
  return rootfs;
}

/** Six namespaces, cgroups, capabilities, masked paths, a seccomp filter: what an engine asks for. */
function specOf(rootfs: string, args: string[], name: string): Spec {
  const spec = defaultSpec(args);
  return {
    ...spec,
    root: { path: rootfs },
    linux: { ...spec.linux, cgroupsPath: `${CGROUPS}/${name}`, seccomp: defaultSeccompProfile() },
  };
}

function ours(runtime: Runtime, rootfs: string): Contestant {
  return {
    name: 'runtime-native',
    async once() {
      const name = id();
      const container = await runtime.create(name, { spec: specOf(rootfs, NO_OP, name) });
      await container.start();
      await container.wait();
      await container.delete();
    },
  };
}

/** Each operation on containers that exist already. */
async function compareOperations(bench: Bench, runtime: Runtime, rootfs: string, peers: PeerRuntime[]) {
  const name = id();
  await using container = await runtime.create(name, { spec: specOf(rootfs, SLEEPER, name) });
  await container.start();
  const theirs = new Map<PeerRuntime, string>();
  for (const peer of peers) {
    const own = id();
    theirs.set(peer, own);
    await peer.run(`create --bundle ${peer.sleeperBundle} ${own}`);
    await peer.run(`start ${own}`);
  }
  const operations: [string, () => Promise<unknown>, (own: string) => string][] = [
    ['`exec` of a static no-op', exec, (own) => `exec ${own} /noop`],
    ['`state`', () => container.state(), (own) => `state ${own}`],
    ['`kill` (signal 0 is not offered: SIGCONT)', () => container.kill(18), (own) => `kill ${own} CONT`],
    ['`pause` and `resume`', pauseAndResume, (own) => `pause ${own} && RUNTIME resume ${own}`],
  ];
  for (const [title, once, command] of operations) {
    await bench.compare(title, [
      { name: 'runtime-native', once: async () => void (await once()) },
      ...peers.map((peer) => ({ name: peer.name, once: () => peer.run(command(theirs.get(peer)!)) })),
    ]);
  }
  await compareStart(bench, runtime, rootfs, peers);
  await container.delete({ force: true });
  for (const [peer, own] of theirs) await peer.run(`delete --force ${own}`);

  async function exec(): Promise<void> {
    await using process = await container.exec({ args: NO_OP, env: [], detached: true });
    await process.wait();
  }
  async function pauseAndResume(): Promise<void> {
    await container.pause();
    await container.resume();
  }
}

/** Only the opening of the gate is timed. */
async function compareStart(bench: Bench, runtime: Runtime, rootfs: string, peers: PeerRuntime[]) {
  await bench.compare('`start` of a created container', [
    {
      name: 'runtime-native',
      async once() {
        const name = id();
        await using container = await runtime.create(name, { spec: specOf(rootfs, NO_OP, name) });
        const began = performance.now();
        await container.start();
        const took = performance.now() - began;
        await container.wait();
        await container.delete();
        return took;
      },
    },
    ...peers.map((peer) => ({
      name: peer.name,
      async once() {
        const own = id();
        await peer.run(`create --bundle ${peer.bundle} ${own}`);
        const began = performance.now();
        await peer.run(`start ${own}`);
        const took = performance.now() - began;
        await peer.run(`delete --force ${own}`);
        return took;
      },
    })),
  ]);
}

/** Memory of what stays beside an idle container. */
async function measureMonitor(bench: Bench, runtime: Runtime, rootfs: string): Promise<void> {
  const name = id();
  await using container = await runtime.create(name, { spec: specOf(rootfs, SLEEPER, name) });
  await container.start();
  const parent = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${container.pid}/status`, 'utf8'))![1]!;
  const field = (key: string, file: string): string =>
    new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${parent}/${file}`, 'utf8'))![1]!;
  bench.table(
    'Memory of the monitor of an idle container',
    ['', 'KiB'],
    [
      ['resident (RSS)', field('VmRSS', 'status')],
      ['proportional (PSS)', field('Pss', 'smaps_rollup')],
      ['private and anonymous', field('Anonymous', 'smaps_rollup')],
    ],
  );
  await container.delete({ force: true });
}

/** What a start costs beside many containers that idle. */
async function measureSlope(bench: Bench, runtime: Runtime, rootfs: string): Promise<void> {
  const milestones = [1, 100, 1000];
  const kept: string[] = [];
  const rows: [number, string][] = [];
  try {
    for (const milestone of milestones) {
      while (kept.length < milestone - 1) kept.push(await keepOne(runtime, rootfs));
      const samples: number[] = [];
      for (let round = 0; round < 15; round++) {
        const began = performance.now();
        await ours(runtime, rootfs).once();
        samples.push(performance.now() - began);
      }
      rows.push([milestone, samples.toSorted((a, b) => a - b)[7]!.toFixed(2)]);
    }
  } finally {
    for (const name of kept) await (await runtime.load(name)).delete({ force: true });
  }
  bench.table('`run` of a no-op as the nth container, the others idle', ['nth', 'median ms'], rows);
}

async function keepOne(runtime: Runtime, rootfs: string): Promise<string> {
  const name = id();
  await using container = await runtime.create(name, { spec: specOf(rootfs, SLEEPER, name) });
  await container.start();
  return name;
}

function gibibytes(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(1);
}

/** Another runtime, driven through one shell. */
interface PeerRuntime {
  name: string;
  bundle: string;
  sleeperBundle: string;
  /** Runs `<runtime> <arguments>` to its end. `RUNTIME` stands for the runtime in a second command. */
  run(args: string): Promise<void>;
}

async function startPeers(
  bench: Bench,
  places: { directory: string; states: string; rootfs: string },
): Promise<PeerRuntime[]> {
  const peers: PeerRuntime[] = [];
  for (const [name, program, library] of [
    ['crun', 'usr/bin/crun', 'libyajl2'],
    ['runc', 'usr/sbin/runc', undefined],
  ] as const) {
    try {
      const path = join(await packageFolder(name), program);
      const libraries = library ? join(await packageFolder(library), 'usr/lib/x86_64-linux-gnu') : '';
      peers.push(await startPeer(bench, { name, path, libraries, ...places }));
    } catch (error) {
      bench.absent(name, (error as Error).message);
    }
  }
  return peers;
}

interface PeerOptions {
  name: string;
  path: string;
  libraries: string;
  directory: string;
  states: string;
  rootfs: string;
}

async function startPeer(bench: Bench, options: PeerOptions): Promise<PeerRuntime> {
  const { name, path, libraries, directory, states, rootfs } = options;
  const bundles = { noop: join(directory, `${name}-noop`), sleeper: join(directory, `${name}-sleeper`) };
  for (const [folder, args] of [
    [bundles.noop, NO_OP],
    [bundles.sleeper, SLEEPER],
  ] as const) {
    await mkdir(folder);
    await writeFile(
      join(folder, 'config.json'),
      JSON.stringify({ ...specOf(rootfs, args, basename(folder)), ociVersion: PEERS_VERSION }),
    );
  }
  // crun refuses hybrid cgroups: in a mount namespace of its own it sees version 1 only
  const shell = spawn('unshare', ['--mount', 'sh'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, LD_LIBRARY_PATH: libraries },
  });
  const ended = once(shell, 'close');
  bench.stack.defer(async () => {
    shell.stdin.end();
    await ended;
  });
  const lines = createInterface({ input: shell.stdout })[Symbol.asyncIterator]();
  const ask = async (line: string): Promise<string> => {
    shell.stdin.write(`${line}\n`);
    return String((await lines.next()).value);
  };
  if (existsSync('/sys/fs/cgroup/unified')) await ask('mount -t tmpfs none /sys/fs/cgroup/unified; echo');
  const command = `${path} --root ${join(states, name)}`;
  const version = await ask(`${path} --version | head -n 1`);
  const failure = join(directory, `${name}.err`);
  return {
    name: version.replace(' version ', ' '),
    bundle: bundles.noop,
    sleeperBundle: bundles.sleeper,
    async run(args) {
      const whole = `{ ${command} ${args.replace('RUNTIME', command)}; } < /dev/null > /dev/null 2> ${failure}`;
      const code = await ask(`${whole}; echo $?`);
      if (code !== '0')
        throw new Error(`${name} ${args}: exit code ${code}: ${readFileSync(failure, 'utf8')}`);
    },
  };
}
