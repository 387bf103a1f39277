/**
 * A whole engine for end-to-end tests: Debian's docker-registry with real images in it, a daemon of its own, and the
 * stock docker CLI pointed at it. The suite runs in a network namespace of its own, which plays the host.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { RegistryClient } from '@tare/registry-client';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { busyboxLayer, pushImage } from '../../../../test/lab/images.ts';
import { compileStatic } from '../../../../test/lab/programs.ts';
import { ownNetwork } from '../../../../test/lab/leftovers.ts';
import { run, startServer, type Finished, type Server } from '../../../../test/lab/process.ts';
import { startDebianRegistry, type LabRegistry } from '../../../../test/lab/registry.ts';
import { tapWire, type WireTap } from './wire-tap.ts';

const ENGINE = join(import.meta.dirname, '..', '..');
const REPOSITORY = join(ENGINE, '..', '..');

/** Why the end-to-end tests cannot run here, or undefined. */
export function missingForEndToEnd(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!ownNetwork()) return 'needs a network namespace of its own: npm test, or vitest under unshare --net';
  const needed = [COMPONENTS.registry, COMPONENTS.busybox, COMPONENTS.docker];
  const missing = needed.filter((component) => componentPath(component) === undefined);
  if (missing.length > 0) return `needs ${missing.map(({ name }) => name).join(', ')}`;
  return undefined;
}

export interface Lab extends AsyncDisposable {
  /** Repository prefix of the images: `127.0.0.1:<port>/`. */
  registry: string;
  /** Full reference of the busybox image. */
  busybox: string;
  /** `unix://…`, for clients that are not the docker CLI. */
  host: string;
  socketPath: string;
  /** Arguments of Node.js that are our own CLI. */
  tareCommand: string[];
  dataRoot: string;
  daemon: Server;
  /** Reads what passes between clients and daemon, and holds replies against the API's schemas. */
  wire: WireTap;
  /** Runs the stock docker CLI against the daemon. */
  docker(args: string[], options?: { input?: string; timeoutMs?: number }): Promise<Finished>;
  /** Runs our own CLI against the daemon. */
  tare(args: string[], options?: { input?: string; timeoutMs?: number }): Promise<Finished>;
  /** Runs docker and throws unless it exits 0; returns trimmed stdout. */
  ok(args: string[], options?: { input?: string; timeoutMs?: number }): Promise<string>;
  /** One request to the API, for what the CLI has no command for. */
  api(method: string, path: string, body?: string | Uint8Array): Promise<Reply>;
  /** Ends the daemon with a signal and starts it again on the same data. */
  restartDaemon(signal: NodeJS.Signals): Promise<void>;
}

/** The answer to one request. */
export interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
  /** The body, parsed. */
  json(): unknown;
}

/** Starts everything. Without an `apiVersion` the docker CLI speaks its own. `mirror` serves Docker Hub's names from the lab's registry too. */
export async function startLab(
  options: { mirror?: boolean; flags?: string[]; apiVersion?: string } = {},
): Promise<Lab> {
  const stack = new AsyncDisposableStack();
  try {
    const registry = stack.use(await startDebianRegistry());
    await fillRegistry(registry);
    // short: the socket's path must stay under 108 bytes
    const folder = await mkdtemp(join(tmpdir(), 'e-'));
    stack.defer(() => rm(folder, { recursive: true, force: true }));
    const socketPath = join(folder, 's');
    const daemonSocket = join(folder, 'd');
    const dataRoot = join(folder, 'data');
    const flags = [
      ['--host', `unix://${daemonSocket}`],
      ['--data-root', dataRoot],
      ['--exec-root', join(folder, 'run')],
      ['--pidfile', join(folder, 'pid')],
      options.mirror ? ['--registry-mirror', `http://${registry.host}`] : [],
      options.flags ?? [],
    ].flat();
    const start = () =>
      startServer(process.execPath, [...tareCommand(), 'daemon', ...flags], {
        ready: () => ping(daemonSocket),
      });

    const wire = stack.use(await tapWire(socketPath, daemonSocket));
    const lab: Lab = {
      wire,
      registry: `${registry.host}/`,
      busybox: `${registry.host}/busybox:latest`,
      host: `unix://${socketPath}`,
      socketPath,
      tareCommand: tareCommand(),
      dataRoot,
      daemon: await start(),
      docker: (args, given) =>
        run(componentPath(COMPONENTS.docker)!, ['-H', `unix://${socketPath}`, ...args], {
          ...given,
          env: {
            ...clientEnvironment(folder),
            // a CLI older than the engine can speak the newest version, too
            ...(options.apiVersion === undefined ? {} : { DOCKER_API_VERSION: options.apiVersion }),
          },
        }),
      tare: (args, given) =>
        run(process.execPath, [...tareCommand(), '-H', `unix://${socketPath}`, ...args], {
          ...given,
          env: clientEnvironment(folder),
        }),
      async ok(args, given) {
        const result = await lab.docker(args, given);
        if (result.code !== 0) {
          throw new Error(
            `docker ${args.join(' ')} ended with ${result.code}\n${result.stdout}\n${result.stderr}\n-- daemon --\n${lab.daemon.output()}`,
          );
        }
        return result.stdout.trim();
      },
      api: (method, path, body) => call(socketPath, method, path, body),
      async restartDaemon(signal) {
        await lab.daemon.stop(signal);
        lab.daemon = await start();
      },
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    };
    // runs first: containers outlive a daemon, so they go before it does
    stack.defer(async () => {
      const ids = (await lab.ok(['ps', '-aq'])).split('\n').filter((id) => id !== '');
      if (ids.length > 0) await lab.ok(['rm', '-fv', ...ids]);
      await lab.ok(['network', 'prune', '-f']);
      await lab.daemon.stop();
      const complaints = [...new Set(wire.complaints)];
      if (complaints.length > 0) {
        throw new Error(`replies that are not as the API has them:\n${complaints.join('\n')}`);
      }
    });
    await lab.ok(['pull', '-q', lab.busybox]);
    await lab.ok(['pull', '-q', `${lab.registry}configured`]);
    return lab;
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

/** The bundled command, as users run it; from sources when it was not built. */
export function tareCommand(): string[] {
  const bundle = join(ENGINE, 'dist', 'start.js');
  return existsSync(bundle) && process.env.TARE_FROM_SOURCES === undefined
    ? [join(ENGINE, 'bin', 'tare.mjs')]
    : ['--conditions=@tare/source', join(ENGINE, 'src', 'cli', 'start.ts')];
}

/** Nothing of the developer's own docker configuration reaches the clients. */
function clientEnvironment(folder: string): NodeJS.ProcessEnv {
  const { PATH, TMPDIR } = process.env;
  return {
    PATH,
    TMPDIR,
    HOME: folder,
    DOCKER_CONFIG: join(folder, 'docker-config'),
    DOCKER_CLI_HINTS: 'false',
  };
}

async function fillRegistry(registry: LabRegistry): Promise<void> {
  const client = new RegistryClient();
  const base = [
    ...(await busyboxLayer(componentPath(COMPONENTS.busybox)!)),
    {
      path: 'bin/udp-echo',
      content: await compileStatic(join(REPOSITORY, 'test/lab/udp-echo.c')),
      mode: 0o755,
    },
  ];
  const push = (name: string, image: Parameters<typeof pushImage>[2]) =>
    pushImage(client.repository(`${registry.host}/${name}`), 'latest', image);
  await push('busybox', {
    layers: [base],
    config: { Cmd: ['sh'], Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'] },
  });
  await push('library/hub-image', { layers: [base], config: { Cmd: ['echo', 'from the mirror'] } });
  await push('fresh', {
    layers: [[{ path: 'unshared', content: 'no other image has this layer' }]],
    config: { Cmd: ['/unshared'] },
  });
  await push('stateful', {
    layers: [
      base,
      [
        { path: 'data', type: 'directory', uid: 1000, gid: 1001, mode: 0o750 },
        { path: 'data/old', content: 'from the lower layer' },
        { path: 'data/seed', content: 'seed', uid: 1000, mode: 0o600 },
        { path: 'data/link', type: 'symlink', linkname: 'seed' },
        { path: 'opt/part/file', content: 'in part' },
        { path: 'opt/out', type: 'symlink', linkname: '../..' },
      ],
      [{ path: 'data/.wh.old', content: '' }],
    ],
    config: { Cmd: ['sh'], Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'], Volumes: { '/data': {} } },
  });
  await push('configured', {
    layers: [
      base,
      [
        { path: 'etc/marker', content: 'from layer two' },
        { path: 'etc/.wh.group', content: '' },
        { path: 'srv', type: 'directory', uid: 1000, gid: 1000 },
      ],
    ],
    config: {
      Entrypoint: ['/bin/echo'],
      Cmd: ['default'],
      Env: ['A=1'],
      WorkingDir: '/srv',
      User: 'worker',
      Labels: { kind: 'test' },
    },
  });
}

/** Runs a container that serves its name as a page, at its port 80. */
export function servePage(lab: Lab, name: string, flags: readonly string[]): Promise<string> {
  const script = `mkdir -p /www; echo ${name} > /www/index.html; httpd -f -p 80 -h /www`;
  return lab.ok(['run', '-d', '--name', name, ...flags, lab.busybox, 'sh', '-c', script]);
}

async function call(
  socketPath: string,
  method: string,
  path: string,
  body?: string | Uint8Array,
): Promise<Reply> {
  const headers = typeof body === 'string' ? { 'Content-Type': 'application/json' } : {};
  const sent = request({ socketPath, method, path, headers }).end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const received = await buffer(response);
  return {
    status: response.statusCode!,
    headers: response.headers,
    body: received,
    json: () => JSON.parse(received.toString()) as unknown,
  };
}

function ping(socketPath: string): Promise<boolean> {
  return call(socketPath, 'GET', '/_ping').then(
    ({ status }) => status === 200,
    () => false,
  );
}
