/** Containers outlive whoever made them; what a crash leaves half made is swept. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { createCgroup } from '../src/cgroups/cgroups.ts';
import type { Container } from '../src/runtime.ts';
import { StateDirectory, startTicks } from '../src/state.ts';
import type { ContainerRecord } from '../src/state.ts';
import { collect, runToEnd, shellSpec } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

const SIGKILL = 9;

describeContainers('a container and the end of its maker', () => {
  let lab: Lab;
  const makers: ChildProcess[] = [];
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(async () => {
    for (const maker of makers.splice(0)) maker.kill('SIGKILL');
    for (const { id } of await lab.runtime.list()) await (await lab.runtime.load(id)).delete({ force: true });
    expect(leftovers(lab)).toEqual([]);
  });
  afterAll(() => lab.dispose());

  /** Another Node.js process that makes and starts a container, says so, and is killed. */
  async function makeAndDie(script: string, log?: string): Promise<void> {
    const options = {
      state: { stateDirectory: lab.stateDirectory, cgroupRoot: lab.cgroupRoot },
      spec: shellSpec(lab.rootfs, script),
      stdio: {
        openStdin: true,
        stdinOnce: true,
        ...(log ? { log: { path: log, format: 'json-file' } } : {}),
      },
    };
    const program = `
      import { createNativeRuntime } from ${JSON.stringify(join(import.meta.dirname, '../src/native-runtime.ts'))};
      const { state, spec, stdio } = ${JSON.stringify(options)};
      const container = await createNativeRuntime(state).create('orphan', { spec, stdio });
      await container.start();
      process.stdout.write('started');
      setInterval(() => {}, 1000);
    `;
    const maker = spawn(process.execPath, ['--input-type=module', '--eval', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    makers.push(maker);
    await once(maker.stdout!, 'data');
    maker.kill('SIGKILL');
    await once(maker, 'exit');
  }

  it('goes on, and serves its next client', async () => {
    const log = join(lab.directory, 'orphan.log');
    await makeAndDie('echo before; cat; echo after; exit 6', log);
    expect(await lab.runtime.list()).toMatchObject([{ id: 'orphan', status: 'running' }]);
    const container = await lab.runtime.load('orphan');
    // what was written before goes to the log alone
    await expect.poll(() => readFileSync(log, 'utf8'), { interval: 5 }).toContain('before');
    const attachment = await container.attach({ stdin: true });
    await attachment.write(Buffer.from('through the monitor\n'));
    await attachment.closeStdin();
    let seen = '';
    for await (const { data } of attachment.output) seen += Buffer.from(data).toString();
    expect(seen).toBe('through the monitor\nafter\n');
    expect((await container.wait()).exitCode).toBe(6);
    expect(
      readFileSync(log, 'utf8')
        .split('\n')
        .slice(0, -1)
        .map((line) => (JSON.parse(line) as { log: string }).log),
    ).toEqual(['before\n', 'through the monitor\n', 'after\n']);
  });

  it('tells how it ended while nobody was there', async () => {
    await makeAndDie('sleep 0.05; exit 6');
    await expect.poll(() => existsSync(join(lab.stateDirectory, 'orphan/exit')), { interval: 5 }).toBe(true);
    const container = await lab.runtime.load('orphan');
    expect(await container.state()).toMatchObject({ status: 'stopped', pid: 0, exit: { exitCode: 6 } });
    expect(await container.wait()).toMatchObject({ exitCode: 6, signal: undefined });
    await expect(container.attach()).rejects.toMatchObject({ code: 'NOT_RUNNING' });
  });

  it('has a monitor of less than a megabyte', async () => {
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    await container.start();
    const { monitorPid } = JSON.parse(readFileSync(join(lab.stateDirectory, 'c/pid'), 'utf8')) as {
      monitorPid: number;
    };
    const status = readFileSync(`/proc/${monitorPid}/status`, 'utf8');
    expect(Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1])).toBeLessThan(1024);
    expect(/Threads:\s+(\d+)/.exec(status)?.[1]).toBe('1');
    // in a session of its own, with its directory and nothing else of its maker open
    const links = readdirSync(`/proc/${monitorPid}/fd`).length;
    expect(links).toBeLessThan(16);
    await container.delete({ force: true });
  });

  it('ends with its monitor, and is found stopped', async () => {
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    await container.start();
    const { pid } = container;
    const { monitorPid } = JSON.parse(readFileSync(join(lab.stateDirectory, 'c/pid'), 'utf8')) as {
      monitorPid: number;
    };
    process.kill(monitorPid, 'SIGKILL');
    expect(await container.wait()).toMatchObject({ exitCode: 255, signal: undefined });
    // dead; that somebody reaps it is not ours to see to
    await expect.poll(() => startTicks(pid)).toBeUndefined();
    expect(await lab.runtime.list()).toMatchObject([{ id: 'c', status: 'stopped', exit: { exitCode: 255 } }]);
  });

  it('is swept when its maker died half-way', async () => {
    // a maker that is certainly gone
    const maker = spawn('/bin/true');
    await once(maker, 'exit');
    const record = {
      version: 1,
      createdAt: new Date().toISOString(),
      spec: shellSpec(lab.rootfs, 'true'),
      cgroup: `${lab.cgroupRoot}/half`,
      terminal: false,
      maker: { pid: maker.pid, startTicks: 1 },
    };
    mkdirSync(join(lab.stateDirectory, 'half'), { recursive: true });
    writeFileSync(join(lab.stateDirectory, 'half/config.json'), JSON.stringify(record));
    mkdirSync(join(lab.stateDirectory, `.new-${maker.pid}-1-abcdef`));
    createCgroup(record.cgroup);
    expect(await lab.runtime.list()).toEqual([]);
    expect(leftovers(lab)).toEqual([]);
  });

  it('runs 20 at once, each by itself', async () => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        runToEnd(lab.runtime, `c${i}`, {
          spec: shellSpec(lab.rootfs, `echo ${i}; ls /proc | grep -c "^[0-9]"; exit ${i}`),
        }),
      ),
    );
    results.forEach(({ stdout, exitCode }, i) => {
      expect(exitCode).toBe(i);
      expect(stdout).toMatch(new RegExp(`^${i}\n[1-4]\n$`));
    });
  });

  it('answers what was asked before the end, whatever else is asked meanwhile', async () => {
    const one = async (i: number): Promise<void> => {
      const spec = shellSpec(lab.rootfs, '', (changed) => (changed.process!.args = ['echo', 'hi']));
      const container = await lab.runtime.create(`c${i}`, { spec });
      const attachment = await container.attach();
      const started = container.start();
      // these meet the end of the process; that must not take the answer to the start along
      const meanwhile = await Promise.allSettled([
        container.kill(18),
        container.attach(),
        container.kill(18),
      ]);
      await started;
      for (const result of meanwhile) {
        if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'NOT_RUNNING' });
        else await (result.value as { close?(): Promise<void> } | undefined)?.close?.();
      }
      expect((await collect(attachment)).stdout).toBe('hi\n');
      expect((await container.wait()).exitCode).toBe(0);
      await container.delete();
    };
    for (let i = 0; i < 40; i += 8) await Promise.all(Array.from({ length: 8 }, (_, j) => one(i + j)));
  });

  it('leaves no descriptor behind in a process that makes and deletes many', async () => {
    const open = (): number => readdirSync('/proc/self/fd').length;
    const once200 = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) await runToEnd(lab.runtime, 'c', { spec: shellSpec(lab.rootfs, 'true') });
    };
    await once200();
    await expect.poll(open).toBeLessThan(200);
    const before = open();
    await once200();
    await expect.poll(open).toBeLessThanOrEqual(before);
  });

  it('drops an exec that its container takes along', async () => {
    const container: Container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    await container.start();
    const process = await container.exec({ args: ['sleep', '1000'], env: ['PATH=/bin'], detached: true });
    await container.kill(SIGKILL);
    expect((await process.wait()).exitCode).toBe(137);
    await process[Symbol.asyncDispose]();
  });

  it('leaves nothing of its directory, also while a monitor records in there how an exec ended', async () => {
    const state = new StateDirectory(join(lab.directory, 'state-of-removals'));
    const record = { version: 1, spec: shellSpec(lab.rootfs, 'true'), cgroup: '/c' } as ContainerRecord;
    for (let round = 0; round < 20; round++) {
      const directory = state.create('c', record);
      writeFileSync(join(directory, 'exit'), '');
      const descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
      const source = `
        const { renameSync } = require('node:fs');
        const [one, other] = ['exit', 'exit.tmp'].map((name) => '/proc/self/fd/${descriptor}/' + name);
        require('node:worker_threads').parentPort.postMessage('ready');
        for (;;) try { renameSync(one, other); renameSync(other, one); } catch { break; }`;
      const monitor = new Worker(source, { eval: true });
      await once(monitor, 'message');
      state.remove('c');
      const left = readdirSync(state.path);
      await monitor.terminate();
      closeSync(descriptor);
      expect(left).toEqual([]);
    }
  });
});
