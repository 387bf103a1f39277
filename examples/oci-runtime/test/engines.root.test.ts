/** The command as the runtime of stock engines: dockerd with containerd and its shim, podman with conmon. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sweepCgroups } from '@tare/runtime-native';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { COMPONENTS, componentPath } from '../../../test/lab/debian.ts';
import { run, startServer, type Finished, type Server } from '../../../test/lab/process.ts';
import { describeContainers } from '../../../packages/runtime-native/test/rootfs.ts';
import { COMMAND, environmentOf, notBuilt } from './lab.ts';

const onPath = (name: string): boolean =>
  (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, name)));

const docker = componentPath(COMPONENTS.docker);
const dockerd = componentPath(COMPONENTS.dockerd);
const noDocker = notBuilt ?? (docker && dockerd ? undefined : 'docker.io and containerd are not there');
const noPodman = notBuilt ?? (onPath('podman') && onPath('conmon') ? undefined : 'podman is not installed');
if (noDocker) console.warn(`skipped: dockerd with our runtime (${noDocker})`);
if (noPodman) console.warn(`skipped: podman with our runtime (${noPodman})`);

/** A directory with an image's tar archive in it. */
async function makeImage(directory: string): Promise<string> {
  const rootfs = join(directory, 'rootfs');
  for (const name of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev'])
    mkdirSync(join(rootfs, name), { recursive: true });
  copyFileSync(componentPath(COMPONENTS.busybox)!, join(rootfs, 'bin/busybox'));
  for (const name of ['sh', 'sleep', 'id', 'cat', 'touch', 'test', 'grep'])
    symlinkSync('busybox', join(rootfs, 'bin', name));
  const archive = join(directory, 'image.tar');
  await run('tar', ['-c', '-C', rootfs, '-f', archive, '.']);
  return archive;
}

describeContainers('our runtime', () => {
  let directory: string;
  let archive: string;
  const cgroups = `/tare-test-engines-${process.pid}`;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'oci-engines-'));
    archive = await makeImage(directory);
  });
  afterAll(() => {
    sweepCgroups(cgroups);
    rmSync(directory, { recursive: true, force: true });
  });

  const WAITER = 'trap "exit 4" TERM; while :; do sleep 0.1; done';

  /** What both engines are asked; `limits` are options that this machine needs. */
  async function drive(engine: (...args: string[]) => Promise<Finished>, limits: string[]): Promise<void> {
    const container = ['--network', 'none', '--cgroup-parent', cgroups, ...limits];
    const { stdout, code } = await engine(
      'run',
      '--rm',
      ...container,
      'img',
      'sh',
      '-c',
      'echo hello; exit 5',
    );
    expect({ stdout, code }).toEqual({ stdout: 'hello\n', code: 5 });

    const missing = await engine('run', '--rm', ...container, 'img', 'no-such-program');
    expect(missing.code).toBe(127);
    expect(missing.stderr).toContain('executable file not found in $PATH');

    const user = ['-u', '1000:1000', '-w', '/tmp', '--read-only', '--cap-drop', 'all'];
    const readOnly = await engine('run', '--rm', ...container, ...user, 'img', 'sh', '-c', 'id -u; touch /x');
    expect(readOnly).toMatchObject({
      stdout: '1000\n',
      stderr: expect.stringContaining('Read-only') as string,
    });

    const limited = ['-d', '--name', 'waiter', '--memory', '64m', '--pids-limit', '50'];
    expect((await engine('run', ...limited, ...container, 'img', 'sh', '-c', WAITER)).code).toBe(0);
    const status = async (): Promise<string> => (await engine('ps', '-a', '--format', '{{.Status}}')).stdout;
    const exec = await engine('exec', 'waiter', 'sh', '-c', 'echo in there; exit 3');
    expect(exec).toMatchObject({ stdout: 'in there\n', code: 3 });
    expect((await engine('pause', 'waiter')).code).toBe(0);
    expect(await status()).toContain('Paused');
    expect((await engine('unpause', 'waiter')).code).toBe(0);
    const stats = await engine('stats', '--no-stream', '--format', '{{.MemUsage}}', 'waiter');
    expect(stats.stdout).toMatch(/\/ (?:64MiB|67.11MB)/);
    expect((await engine('stop', '-t', '5', 'waiter')).code).toBe(0);
    expect(await status()).toContain('Exited (4)');
    expect((await engine('start', 'waiter')).code).toBe(0);
    expect((await engine('kill', 'waiter')).code).toBe(0);
    expect((await engine('wait', 'waiter')).stdout.trim()).toBe('137');
    expect((await engine('rm', 'waiter')).code).toBe(0);
  }

  it.skipIf(noDocker)(
    'serves dockerd',
    async () => {
      const socket = `unix://${join(directory, 'docker.sock')}`;
      // containerd leaves its stacks in TMPDIR when dockerd finds it slow
      const env = { ...process.env, ...environmentOf(COMPONENTS.dockerd), TMPDIR: directory };
      const engine = (...args: string[]): Promise<Finished> => run(docker!, ['-H', socket, ...args], { env });
      const folders = ['data-root', 'exec-root'].flatMap((name) => [
        `--${name}`,
        join(directory, 'docker', name),
      ]);
      const network = ['--iptables=false', '--bridge=none', '--cgroup-parent', cgroups];
      const ours = ['--add-runtime', `ours=${COMMAND}`, '--default-runtime', 'ours'];
      const options = ['-H', socket, '--pidfile', join(directory, 'docker.pid'), '--storage-driver', 'vfs'];
      await using _server: Server = await startServer(
        dockerd!,
        [...options, ...folders, ...network, ...ours],
        {
          env,
          timeoutMs: 60_000,
          ready: async () => (await engine('version')).code === 0,
        },
      );
      expect((await engine('import', archive, 'img')).code).toBe(0);
      await drive(engine, []);
      const updated = await engine(
        'run',
        '-d',
        '--name',
        'other',
        '--network',
        'none',
        'img',
        'sleep',
        '1000',
      );
      expect(updated.code).toBe(0);
      expect((await engine('update', '--memory', '32m', '--memory-swap', '64m', 'other')).code).toBe(0);
      expect((await engine('top', 'other')).stdout).toContain('sleep 1000');
      expect((await engine('rm', '-f', 'other')).code).toBe(0);
    },
    180_000,
  );

  it.skipIf(noPodman)(
    'serves podman',
    async () => {
      const folders = ['root', 'runroot', 'tmpdir'].flatMap((name) => [
        `--${name}`,
        join(directory, 'podman', name),
      ]);
      const options = ['--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none'];
      const engine = (...args: string[]): Promise<Finished> =>
        // its own mounts: it makes its storage a mount of its own
        run('unshare', ['--mount', 'podman', ...folders, ...options, '--runtime', COMMAND, ...args]);
      expect((await engine('import', archive, 'img')).code).toBe(0);
      try {
        // podman raises limits, which takes a capability that not every root has
        await drive(engine, ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000']);
      } finally {
        await engine('rm', '--all', '--force', '--time', '0');
      }
    },
    180_000,
  );
});
