/** The engines that are measured side by side, each with data folders of its own, all stopped and removed at the end. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bringUpLoopback } from '@tare/netdriver';
import { startRegistry } from '@tare/registry';
import { freshDisk } from './disk.ts';
import { run, startServer } from '../test/lab/process.ts';

/** One engine, ready to be timed. */
export interface Peer {
  name: string;
  version: string;
  /** What drives it. */
  client: string;
  /** The client's command up to its subcommand. */
  cli: string[];
  /** Arguments of `run` that this engine needs on this machine. */
  runFlags: string[];
  env: NodeJS.ProcessEnv;
  /** Data of this engine alone. */
  folder: string;
  /** The process that does the work, when that is not the client. */
  daemon?: number;
}

export interface Peers extends AsyncDisposable {
  list: Peer[];
  absent: { name: string; reason: string }[];
}

/** Pushes an image to the registry `host`. @returns its reference */
export type PushImage = (host: string) => Promise<string>;

/**
 * Starts a registry and every engine that is installed, and gives each the image.
 *
 * @param options.ownDisks - each has a file system to itself, and does not pay for what another removed. Default false
 */
export async function startPeers(
  push: PushImage,
  options: { ownDisks?: boolean } = {},
): Promise<Peers & { image: string }> {
  const stack = new AsyncDisposableStack();
  try {
    await bringUpLoopback('/proc/self/ns/net');
    const folder = await mkdtemp(join(tmpdir(), 'tare-bench-'));
    stack.defer(() => rm(folder, { recursive: true, force: true }));
    const registry = stack.use(
      await startRegistry({ root: join(folder, 'registry'), host: '127.0.0.1', port: 0 }),
    );
    const { host } = new URL(registry.url);
    const image = await push(host);
    const absent: Peers['absent'] = [];
    const list: Peer[] = [];
    for (const name of PEERS) {
      if (options.ownDisks === true) freshDisk(join(folder, name), stack);
      const peer = await startPeer(name, join(folder, name), [host], stack);
      if ('reason' in peer) {
        absent.push({ name, reason: peer.reason });
        continue;
      }
      const { code, stderr } = await run(peer.cli[0]!, [...peer.cli.slice(1), 'pull', '-q', image], {
        env: peer.env,
        timeoutMs: 60_000,
      });
      if (code === 0) list.push(peer);
      else absent.push({ name, reason: `pull failed: ${stderr.trim().split('\n').at(-1)}` });
    }
    if (!list.some(({ name }) => name === 'tare')) throw new Error(absent[0]?.reason);
    return { image, list, absent, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

/** The engines there are; ours comes first. */
export const PEERS = ['tare', 'dockerd', 'podman'] as const;

/**
 * Starts one engine with all its data in `folder`; it ends with `stack`.
 *
 * @param registries - hosts that it may reach without TLS
 * @returns it, or why it is not here
 */
export async function startPeer(
  name: (typeof PEERS)[number],
  folder: string,
  registries: readonly string[],
  stack: AsyncDisposableStack,
): Promise<Peer | { reason: string }> {
  const start = { tare: startTare, dockerd: startDockerd, podman: startPodman }[name];
  const started = await start(folder, registries, stack);
  return 'reason' in started ? started : { name, runFlags: [], env: process.env, folder, ...started };
}

type Started =
  | {
      version: string;
      client: string;
      cli: string[];
      runFlags?: string[];
      env?: NodeJS.ProcessEnv;
      daemon?: number;
    }
  | { reason: string };

async function startTare(
  folder: string,
  _registries: readonly string[],
  stack: AsyncDisposableStack,
): Promise<Started> {
  const tare = join(import.meta.dirname, '..', 'node_modules', '.bin', 'tare');
  return startDaemon(folder, stack, tare, [
    'daemon',
    '--host',
    `unix://${folder}/s`,
    '--data-root',
    join(folder, 'data'),
    '--exec-root',
    join(folder, 'run'),
    '--pidfile',
    join(folder, 'pid'),
    '--log-level',
    'warn',
  ]);
}

async function startDockerd(
  folder: string,
  _registries: readonly string[],
  stack: AsyncDisposableStack,
): Promise<Started> {
  if (!installed('dockerd')) return { reason: 'not installed (Debian package docker.io)' };
  await mkdir(folder, { recursive: true });
  // not the machine's own configuration
  const config = join(folder, 'daemon.json');
  await writeFile(config, '{}');
  return startDaemon(folder, stack, 'dockerd', [
    '--config-file',
    config,
    '-H',
    `unix://${folder}/s`,
    '--data-root',
    join(folder, 'data'),
    '--exec-root',
    join(folder, 'run'),
    '--pidfile',
    join(folder, 'pid'),
  ]);
}

/** A daemon with the Docker API, driven by the stock docker CLI. */
async function startDaemon(
  folder: string,
  stack: AsyncDisposableStack,
  command: string,
  args: string[],
): Promise<Started> {
  if (!installed('docker'))
    return { reason: 'there is no docker CLI to drive it (Debian package docker.io)' };
  await mkdir(folder, { recursive: true });
  const socket = join(folder, 's');
  // not spawnSync: the registry runs in this process
  const docker = (...rest: string[]) =>
    run('docker', ['-H', `unix://${socket}`, ...rest], { timeoutMs: 60_000 });
  const server = stack.use(
    await startServer(command, args, {
      ready: async () => existsSync(socket) && (await docker('version')).code === 0,
      timeoutMs: 60_000,
    }),
  );
  // either would leave them running
  stack.defer(async () => {
    const names = (await docker('ps', '-aq')).stdout.split('\n').filter(Boolean);
    if (names.length > 0) await docker('rm', '-f', ...names);
  });
  return {
    daemon: server.child.pid!,
    version: (await docker('version', '-f', '{{.Server.Version}}')).stdout.trim(),
    client: `docker CLI ${(await docker('version', '-f', '{{.Client.Version}}')).stdout.trim()}`,
    cli: ['docker', '-H', `unix://${socket}`],
    // neither has the other's plugins: all build as the CLI itself does
    env: { ...process.env, DOCKER_BUILDKIT: '0' },
  };
}

async function startPodman(
  folder: string,
  registries: readonly string[],
  stack: AsyncDisposableStack,
): Promise<Started> {
  if (!installed('podman')) return { reason: 'not installed (Debian package podman)' };
  await mkdir(folder, { recursive: true });
  const config = join(folder, 'registries.conf');
  const insecure = registries.map((host) => `[[registry]]\nlocation = "${host}"\ninsecure = true\n`);
  await writeFile(config, insecure.join(''));
  const env = { ...process.env, CONTAINERS_REGISTRIES_CONF: config };
  const podman = [
    'podman',
    '--root',
    join(folder, 'root'),
    '--runroot',
    join(folder, 'run'),
    '--cgroup-manager',
    'cgroupfs',
    // its default, crun, refuses machines with both versions of cgroups
    ...(existsSync('/sys/fs/cgroup/unified') && installed('runc') ? ['--runtime', 'runc'] : []),
  ];
  const call = (...rest: string[]) =>
    run(podman[0]!, [...podman.slice(1), ...rest], { env, timeoutMs: 60_000 });
  stack.defer(async () => {
    await call('system', 'reset', '--force');
  });
  return {
    version: (await call('version', '-f', '{{.Client.Version}}')).stdout.trim(),
    client: 'podman, no daemon',
    // its default limits are higher than a machine without CAP_SYS_RESOURCE allows
    cli: podman,
    runFlags: ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'],
    env,
  };
}

function installed(name: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, name)));
}
