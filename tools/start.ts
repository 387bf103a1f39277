/**
 * The main job before your eyes: an embedded registry with the hello-world image, a daemon, and `tare run hello-world`.
 * Everything happens in a network namespace and a temporary folder of its own, and nothing is left at the end.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pushHelloWorld } from '@tare/hello-world';
import { bringUpLoopback } from '@tare/netdriver';
import { startRegistry } from '@tare/registry';
import { RegistryClient } from '@tare/registry-client';

const TARE = join(import.meta.dirname, '..', 'node_modules', '.bin', 'tare');
const ISOLATED = 'TARE_START_ISOLATED';

if (process.getuid?.() !== 0) {
  fail('containers need root for now: run "sudo npm start"');
}
if (process.env[ISOLATED] === undefined) {
  // a network of our own: the demonstration changes nothing of the machine's
  const [node, ...args] = [process.execPath, ...process.execArgv, import.meta.filename];
  const result = spawnSync('unshare', ['--net', '--', node, ...args], {
    stdio: 'inherit',
    env: { ...process.env, [ISOLATED]: '1' },
  });
  if (result.error) fail(`cannot start unshare (Debian package util-linux): ${result.error.message}`);
  process.exit(result.status ?? 1);
}

await bringUpLoopback('/proc/self/ns/net');
process.exitCode = await demonstrate();
if (process.exitCode === 0) sayHowToGoOn();

/** Runs hello-world on a registry and a daemon that live only for it; returns its exit code. */
async function demonstrate(): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'tare-start-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));

  const registry = stack.use(
    await startRegistry({ root: join(folder, 'registry'), host: '127.0.0.1', port: 0 }),
  );
  await pushHelloWorld(new RegistryClient().repository(`${new URL(registry.url).host}/library/hello-world`));
  say(`registry: ${registry.url} has library/hello-world`);

  const socketPath = join(folder, 'tare.sock');
  const daemon = spawn(
    TARE,
    [
      'daemon',
      '--host',
      `unix://${socketPath}`,
      '--registry-mirror',
      registry.url,
      '--log-level',
      'warn',

      '--data-root',
      join(folder, 'data'),
      '--exec-root',
      join(folder, 'run'),
      '--pidfile',
      join(folder, 'tare.pid'),
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const ended = once(daemon, 'close');
  stack.defer(async () => {
    daemon.kill('SIGTERM');
    await ended;
  });
  await until(
    () => answers(socketPath),
    () => daemon.exitCode === null,
  );
  say(`daemon: answers on ${socketPath}`);

  process.stdout.write('\n$ tare run hello-world\n');
  const client = spawn(TARE, ['--host', `unix://${socketPath}`, 'run', '--rm', 'hello-world'], {
    stdio: 'inherit',
  });
  const [code] = (await once(client, 'close')) as [number | null];
  return code ?? 1;
}

function sayHowToGoOn(): void {
  process.stdout
    .write(`That was the whole way: client, daemon, registry, container. Registry and daemon are stopped again,
nothing is left running or mounted. To go on:

  export PATH="$PWD/node_modules/.bin:$PATH"
  tare daemon &                                  the daemon, on /run/tare.sock, data in /var/lib/tare
  tare run -it <image> sh                        our command line
  docker -H unix:///run/tare.sock ps             the stock docker command line, or any Docker client

More: README.md, and "tare --help".
`);
}

/** Waits until `condition` holds; gives up when `possible` no longer does. */
async function until(condition: () => Promise<boolean>, possible: () => boolean): Promise<void> {
  while (!(await condition())) {
    if (!possible()) fail('the daemon ended before it answered');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const ping = request({ socketPath, path: '/_ping' }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    ping.on('error', () => resolve(false));
    ping.end();
  });
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function fail(text: string): never {
  process.stderr.write(`tare: ${text}\n`);
  process.exit(1);
}
