/** Every failure names its step, and undoes everything. */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { run } from '../../../test/lab/process.ts';
import type { Mount } from '../src/runtime.ts';
import type { Spec } from '../src/spec/index.ts';
import { runToEnd, shellSpec } from '../src/testing/index.ts';
import { children, describeContainers, leftovers, machineMounts, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';
import type { Input } from './lab/create-and-fail.ts';

describeContainers('a container that cannot be made', () => {
  let lab: Lab;
  let mounts: string[];
  beforeAll(() => {
    lab = makeLab();
    mounts = machineMounts();
  });
  afterEach(async () => {
    expect(leftovers(lab)).toEqual([]);
    expect(machineMounts()).toEqual(mounts);
    await expect.poll(() => children()).toEqual([]);
  });
  afterAll(() => lab.dispose());

  async function fails(change: (spec: Spec) => void, rootfs?: Mount[]): Promise<unknown> {
    const spec = shellSpec(lab.rootfs, 'true', change);
    return lab.runtime.create('c', { spec, ...(rootfs ? { rootfs } : {}) }).then(
      async (container) => {
        await container.delete({ force: true });
        throw new Error('it was made');
      },
      (error: unknown) => error,
    );
  }

  it('says that the source of a mount is missing', async () => {
    const error = await fails((spec) =>
      spec.mounts!.push({ destination: '/x', type: 'bind', source: '/does/not/exist', options: ['bind'] }),
    );
    expect(error).toMatchObject({
      code: 'SETUP_FAILED',
      step: 'TREE_OPEN',
      syscall: 'open_tree',
      errnoCode: 'ENOENT',
      path: '/does/not/exist',
    });
  });

  it('says that the working directory cannot be made in a root that is really read-only', async () => {
    const empty = join(lab.directory, 'empty');
    mkdirSync(empty, { recursive: true });
    const view = { type: 'overlay', source: 'overlay', options: [`lowerdir=${lab.rootfs}:${empty}`] };
    const error = await fails(
      (spec) => {
        spec.process!.cwd = '/not/there';
        spec.mounts = spec.mounts!.filter(({ destination }) => !destination.startsWith('/dev/'));
      },
      [view],
    );
    expect(error).toMatchObject({ code: 'SETUP_FAILED', step: 'DIRECTORY', errnoCode: 'EROFS' });
  });

  it('says that the file system is unknown, or refuses an option', async () => {
    const add =
      (type: string, ...options: string[]) =>
      (spec: Spec) =>
        spec.mounts!.push({ destination: '/x', type, source: type, options });
    expect(await fails(add('no-such-fs'))).toMatchObject({
      step: 'MOUNT',
      syscall: 'fsopen',
      errnoCode: 'ENODEV',
    });
    expect(await fails(add('tmpfs', 'nonsense=1'))).toMatchObject({
      step: 'MOUNT',
      syscall: 'fsconfig',
      errnoCode: 'EINVAL',
      path: 'nonsense=1',
    });
  });

  it('says that the root is missing', async () => {
    const missing = join(lab.directory, 'gone');
    expect(await fails((spec) => (spec.root = { path: missing }))).toMatchObject({
      errnoCode: 'ENOENT',
      path: missing,
    });
    const overlay = { type: 'overlay', source: 'overlay', options: [`lowerdir=${missing}`] };
    expect(await fails(() => {}, [overlay])).toMatchObject({ step: 'ROOT_OVERLAY', path: missing });
  });

  it('says that a user, a limit or a namespace is impossible', async () => {
    expect(await fails((spec) => (spec.process!.user.uid = 4_294_967_295))).toMatchObject({
      code: 'INVALID_SPEC',
      field: 'process.user.uid',
    });
    expect(await fails((spec) => (spec.process!.user.uid = 4_294_967_296))).toMatchObject({
      code: 'INVALID_SPEC',
    });
    const files = { type: 'RLIMIT_NOFILE' as const, soft: 2 ** 40, hard: 2 ** 40 };
    expect(await fails((spec) => (spec.process!.rlimits = [files]))).toMatchObject({
      step: 'RLIMIT',
      syscall: 'setrlimit',
      errnoCode: 'EPERM',
    });
    expect(
      await fails((spec) => spec.linux!.namespaces!.splice(1, 1, { type: 'network', path: '/etc/passwd' })),
    ).toMatchObject({ step: 'NAMESPACE_JOIN', syscall: 'setns', errnoCode: 'EINVAL', path: '/etc/passwd' });
  });

  it('says at create that the program is missing or none, when asked to look it up', async () => {
    const created = async (args: string[], change?: (spec: Spec) => void): Promise<unknown> => {
      const spec = shellSpec(lab.rootfs, 'true', change);
      spec.process!.args = args;
      return lab.runtime.create('c', { spec, lookUp: true }).then(
        (container) => container.delete({ force: true }).then(() => 'made'),
        (error: unknown) => error,
      );
    };
    expect(await created(['no-such-program'])).toMatchObject({
      code: 'EXEC_FAILED',
      errnoCode: 'ENOENT',
      message: 'exec: "no-such-program": executable file not found in $PATH',
    });
    expect(await created(['/etc'])).toMatchObject({ code: 'EXEC_FAILED', errnoCode: 'EACCES' });
    writeFileSync(join(lab.rootfs, 'bin/private'), '#!/bin/sh\n', { mode: 0o700 });
    // as the user that it will be
    const user = (spec: Spec): void => {
      spec.process!.user = { uid: 1000, gid: 1000 };
      spec.process!.capabilities = {};
    };
    expect(await created(['private'], user)).toMatchObject({ code: 'EXEC_FAILED', errnoCode: 'EACCES' });
    expect(await created(['private'])).toBe('made');
    expect(await created(['sh'], user)).toBe('made');
    rmSync(join(lab.rootfs, 'bin/private'));
  });

  it('says so also in a program that has nothing else to wait for than a monitor that takes its time', async () => {
    // the event loop of one could end before the answer was there, and the program with success
    const script = `pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/')
monitor=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$pid/status)
kill -STOP $monitor
(sleep 0.3; kill -CONT $monitor) > /dev/null 2>&1 &
exit 1`;
    const spec = shellSpec(lab.rootfs, 'true');
    spec.hooks = {
      createRuntime: [{ path: '/bin/sh', args: ['sh', '-c', script], env: ['PATH=/bin:/usr/bin'] }],
    };
    const { stateDirectory, cgroupRoot } = lab;
    const input: Input = { runtime: { stateDirectory, cgroupRoot }, spec };
    const program = join(import.meta.dirname, 'lab/create-and-fail.ts');
    const { stdout, stderr } = await run(process.execPath, [
      ...process.execArgv,
      program,
      JSON.stringify(input),
    ]);
    expect({ stdout, stderr }).toEqual({
      stdout: 'hooks.createRuntime[0]: /bin/sh: exit status 1\n',
      stderr: '',
    });
  });

  it('says that the log cannot be opened', async () => {
    const spec = shellSpec(lab.rootfs, 'true');
    await expect(
      lab.runtime.create('c', { spec, stdio: { log: { path: '/does/not/exist/log', format: 'json-file' } } }),
    ).rejects.toMatchObject({ code: 'SETUP_FAILED', step: 'LOG', errnoCode: 'ENOENT' });
  });

  it('says that a limit of the cgroup is impossible', async () => {
    const error = await fails((spec) => (spec.linux!.resources = { cpu: { quota: 1, period: 1 } }));
    // the latter where no hierarchy has the controller
    expect(['CGROUP_FAILED', 'UNSUPPORTED']).toContain((error as { code: string }).code);
  });

  it('refuses an environment entry without a name', async () => {
    for (const entry of ['NAME', '=value', '']) {
      const error = await fails((spec) => (spec.process!.env = [entry]));
      expect(error).toMatchObject({ code: 'INVALID_SPEC', field: 'process.env[0]' });
    }
  });

  it('refuses what it cannot do instead of leaving it out', async () => {
    const personality = { domain: 'LINUX32' as const, flags: ['ADDR_NO_RANDOMIZE', 'NO_SUCH_FLAG'] };
    expect(await fails((spec) => (spec.linux!.personality = personality))).toMatchObject({
      code: 'UNSUPPORTED',
      field: 'linux.personality.flags[1]',
    });
    expect(await fails((spec) => (spec.linux!.intelRdt = { closID: 'a' }))).toMatchObject({
      code: 'UNSUPPORTED',
      field: 'linux.intelRdt',
    });
  });

  it('refuses links where /proc, /sys and /dev should be', async () => {
    const outside = join(lab.directory, 'outside');
    mkdirSync(outside, { recursive: true });
    for (const name of ['proc', 'sys', 'dev']) {
      const root = join(lab.directory, `root-with-linked-${name}`);
      mkdirSync(root);
      symlinkSync(outside, join(root, name));
      const error = await fails((spec) => (spec.root = { path: root }));
      expect(error, name).toMatchObject({ code: 'SETUP_FAILED', syscall: 'openat2', errnoCode: 'ELOOP' });
    }
  });

  it('resolves links of the image inside the image', async () => {
    const root = join(lab.directory, 'root-with-links');
    mkdirSync(root);
    symlinkSync(lab.directory, join(root, 'data'));
    symlinkSync('/../../../../../etc', join(root, 'out'));
    const source = join(lab.directory, 'data-source');
    mkdirSync(source);
    writeFileSync(join(source, 'file'), 'x');
    const error = await fails((spec) => {
      spec.root = { path: root };
      // the link leads to a path that the image does not have; it must not be made on the host either
      spec.mounts!.push({ destination: '/data/sub', type: 'bind', source, options: ['bind'] });
    });
    expect(error).toMatchObject({ code: 'SETUP_FAILED', errnoCode: 'ENOENT' });
  });

  it('refuses to mount inside /proc, by name and through a link', async () => {
    const mount = { type: 'tmpfs', source: 'tmpfs' };
    expect(await fails((spec) => spec.mounts!.push({ ...mount, destination: '/proc/self' }))).toMatchObject({
      code: 'INVALID_SPEC',
    });
    const root = join(lab.directory, 'root-with-link-to-proc');
    mkdirSync(root);
    symlinkSync('/proc', join(root, 'knobs'));
    const error = await fails((spec) => {
      spec.root = { path: root };
      spec.mounts!.push({ ...mount, destination: '/knobs/sys' });
    });
    expect(error).toMatchObject({ code: 'SETUP_FAILED', errnoCode: 'EPERM', path: '/knobs/sys' });
  });

  it('masks a link where it leads to inside the container, and nothing else', async () => {
    const spec = shellSpec(lab.rootfs, 'cat /etc/masked | wc -c; stat -c %F /dev/null', (changed) => {
      changed.linux!.maskedPaths = ['/etc/masked', '/no/such/path'];
    });
    writeFileSync(join(lab.rootfs, 'etc/masked'), 'secret');
    const { stdout } = await runToEnd(lab.runtime, 'c', { spec });
    expect(stdout).toBe('0\ncharacter special file\n');
  });
});
