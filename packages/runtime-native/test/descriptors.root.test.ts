/** Processes with descriptors of the caller's, and processes that somebody else waits for. */
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { readable } from '../src/process.ts';
import { shellSpec } from '../src/testing/index.ts';
import { receiveMessage, socketpair } from '../src/unix-socket.ts';
import { children, describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

describeContainers('descriptors of the caller', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  /** A file of the host for a process's output. */
  function outputFile(): { fd: number; text(): string } & Disposable {
    const directory = mkdtempSync(join(lab.directory, 'out-'));
    const fd = openSync(join(directory, 'file'), 'w+');
    return {
      fd,
      text: () => readFileSync(join(directory, 'file'), 'utf8'),
      [Symbol.dispose]() {
        closeSync(fd);
        rmSync(directory, { recursive: true });
      },
    };
  }

  it('become stdio of a container, which nobody else holds open', async () => {
    using output = outputFile();
    const container = await lab.runtime.create('c', {
      spec: shellSpec(lab.rootfs, 'echo to you; echo err >&2; ls /proc/self/fd'),
      stdio: { inherit: [-1, output.fd, output.fd] },
    });
    await container.start();
    expect((await container.wait()).exitCode).toBe(0);
    // the last is that of ls itself
    expect(output.text().split('\n')).toEqual(['to you', 'err', '0', '1', '2', '3', '']);
    await container.delete();
  });

  it('become stdio of an exec, and further ones follow from 3 on', async () => {
    using output = outputFile();
    using extra = outputFile();
    const container = await lab.runtime.run('c', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    const process = await container.exec({
      args: ['sh', '-c', 'echo one; echo two >&3; echo three >&4; ls /proc/self/fd'],
      env: ['PATH=/bin'],
      stdio: { inherit: [-1, output.fd, -1], pass: [extra.fd, extra.fd] },
    });
    expect((await process.wait()).exitCode).toBe(0);
    expect(extra.text()).toBe('two\nthree\n');
    expect(output.text()).toBe('one\n0\n1\n2\n3\n4\n5\n');
    await process[Symbol.asyncDispose]();
    await container.delete({ force: true });
  });

  it('belong to the user of the process when they are pipes', async () => {
    const [ours, theirs] = socketpair('stream');
    const spec = shellSpec(
      lab.rootfs,
      'sleep 1000',
      (change) => (change.process!.user = { uid: 77, gid: 0 }),
    );
    const container = await lab.runtime.run('c', { spec, stdio: { inherit: [theirs, -1, -1] } });
    expect(statSync(`/proc/${container.pid}/fd/0`).uid).toBe(77);
    // a device is everybody's
    expect(statSync('/dev/null').uid).toBe(0);
    closeSync(ours);
    closeSync(theirs);
    await container.delete({ force: true });
  });

  it('can be a socket that gets the terminal', async () => {
    const [ours, theirs] = socketpair('stream');
    const container = await lab.runtime.create('c', {
      spec: shellSpec(lab.rootfs, 'stty size; exec sleep 1000'),
      stdio: { terminal: true, consoleSocket: theirs, consoleSize: { columns: 70, rows: 30 } },
    });
    closeSync(theirs);
    await readable(ours);
    const message = receiveMessage(ours, 100)!;
    expect(message.data.toString()).toBe('/dev/pts/ptmx');
    const [master] = message.fds as [number];
    await container.start();
    await readable(master);
    const text = Buffer.alloc(100);
    expect(text.toString('utf8', 0, readSync(master, text))).toContain('30 70');
    closeSync(master);
    closeSync(ours);
    await container.delete({ force: true });
  });

  it('are refused where they make no sense', async () => {
    const spec = shellSpec(lab.rootfs, 'true');
    await expect(lab.runtime.create('c', { spec, stdio: { consoleSocket: 1 } })).rejects.toMatchObject({
      code: 'INVALID_SPEC',
      field: 'stdio.consoleSocket',
    });
  });

  it('a process can be born to the caller, who gets it back with its status and leaves no zombie', async () => {
    const container = await lab.runtime.create('c', {
      spec: shellSpec(lab.rootfs, 'exit 9'),
      stdio: { inherit: [-1, -1, -1], reparent: true },
    });
    const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${container.pid}/status`, 'utf8'))?.[1];
    expect(Number(parent)).toBe(process.pid);
    await container.start();
    expect(await container.wait()).toMatchObject({ exitCode: 9, signal: undefined });
    await container.delete();
    await expect.poll(() => children()).toEqual([]);
  });

  it('so can one in a user namespace, and what has made it leaves no zombie either', async () => {
    const maps = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    const spec = shellSpec(lab.rootfs, 'exit 9', ({ linux }) => {
      linux!.namespaces!.push({ type: 'user' });
      Object.assign(linux!, { uidMappings: maps, gidMappings: maps });
    });
    const stdio = { inherit: [-1, -1, -1], reparent: true } as const;
    const container = await lab.runtime.create('c', { spec, stdio });
    const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${container.pid}/status`, 'utf8'))?.[1];
    expect(Number(parent)).toBe(process.pid);
    await container.start();
    expect(await container.wait()).toMatchObject({ exitCode: 9, signal: undefined });
    await container.delete();
    spec.mounts!.push({ destination: '/x', type: 'bind', source: '/does/not/exist' });
    await expect(lab.runtime.create('c', { spec, stdio })).rejects.toMatchObject({ code: 'SETUP_FAILED' });
    await expect.poll(() => children()).toEqual([]);
  });

  it('a process of the caller keeps its status until it is waited for, however fast it was', async () => {
    const container = await lab.runtime.run('c', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    const stdio = { inherit: [-1, -1, -1], reparent: true } as const;
    for (let turn = 0; turn < 10; turn++) {
      const quick = await container.exec({
        args: ['sh', '-c', 'exit 3'],
        env: ['PATH=/bin'],
        stdio,
        detached: true,
      });
      expect(quick.pid).toBeGreaterThan(0);
      // as conmon and containerd's shim find it when its maker has gone
      const stat = (): string => readFileSync(`/proc/${quick.pid}/stat`, 'utf8');
      await expect.poll(stat).toMatch(/\) Z .* 768\n$/);
      expect(await quick.wait()).toMatchObject({ exitCode: 3 });
      expect(children()).not.toContain(String(quick.pid));
      await quick.delete();
    }
    await container.delete({ force: true });
  });

  it('a process of the caller that is killed says so', async () => {
    const container = await lab.runtime.run('c', {
      spec: shellSpec(lab.rootfs, 'sleep 1000'),
      stdio: { reparent: true },
    });
    await container.kill(9);
    expect(await container.wait()).toMatchObject({ exitCode: 137, signal: 9 });
    await container.delete();
  });
});
