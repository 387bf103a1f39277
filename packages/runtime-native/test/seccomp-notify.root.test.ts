/** Filters that ask: the listener goes to an agent, here one in this process, which decides call by call. */
import { closeSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';

import {
  acceptUnix,
  answerNotification,
  listenUnix,
  notificationIsValid,
  readable,
  receiveMessage,
  receiveNotification,
  watchReadable,
} from '../src/index.ts';
import type { SeccompAnswer, SeccompNotification, Watcher } from '../src/index.ts';
import { architecturesOf, syscallNumbers } from '../src/seccomp/architectures.ts';
import type { LinuxSeccomp, Spec } from '../src/spec/index.ts';
import { collect, runToEnd, shellSpec } from '../src/testing/index.ts';
import { children, describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

/** What the runtime spec calls the container process state. */
interface ProcessState {
  ociVersion: string;
  fds: string[];
  pid: number;
  metadata?: string;
  state: { ociVersion: string; id: string; status: string; pid: number; bundle: string };
}

const NUMBERS = syscallNumbers(architecturesOf(process.arch)[0]!);

/** An agent: takes listeners from a socket, and answers their notifications. */
class Agent implements Disposable {
  readonly states: ProcessState[] = [];
  readonly seen: SeccompNotification[] = [];
  answer: (notification: SeccompNotification, listener: number) => SeccompAnswer = () => ({ continue: true });
  readonly #socket: number;
  readonly #watchers: Watcher[] = [];
  readonly #listeners: number[] = [];

  constructor(path: string) {
    this.#socket = listenUnix(path, 'stream');
    this.#watchers.push(watchReadable(this.#socket, () => void this.#accept()));
  }

  async #accept(): Promise<void> {
    const connection = acceptUnix(this.#socket);
    if (connection === undefined) return;
    await readable(connection);
    const { data, fds } = receiveMessage(connection, 64 << 10)!;
    closeSync(connection);
    this.states.push(JSON.parse(Buffer.from(data).toString()) as ProcessState);
    const [listener] = fds;
    expect(fds).toHaveLength(1);
    this.#listeners.push(listener!);
    const watcher = watchReadable(listener!, () => {
      // readable for ever once the last process of the filter is gone
      if (!this.#decide(listener!)) watcher.close();
    });
    this.#watchers.push(watcher);
  }

  #decide(listener: number): boolean {
    const notification = receiveNotification(listener);
    if (!notification) return false;
    this.seen.push(notification);
    answerNotification(listener, notification.id, this.answer(notification, listener));
    return true;
  }

  [Symbol.dispose](): void {
    for (const watcher of this.#watchers) watcher.close();
    for (const fd of [this.#socket, ...this.#listeners]) closeSync(fd);
  }
}

describeContainers('a filter that notifies', () => {
  let lab: Lab;
  let path: string;
  let agent: Agent;
  beforeAll(() => {
    lab = makeLab();
    path = join(lab.directory, 'agent.sock');
  });
  beforeEach(() => {
    agent = new Agent(path);
  });
  afterEach(async () => {
    agent[Symbol.dispose]();
    rmSync(path, { force: true });
    await expect.poll(() => children()).toEqual([]);
    expect(leftovers(lab)).toEqual([]);
  });
  afterAll(() => lab.dispose());

  const profile = (names: string[], more: Partial<LinuxSeccomp> = {}): LinuxSeccomp => ({
    defaultAction: 'SCMP_ACT_ALLOW',
    listenerPath: path,
    syscalls: [{ names, action: 'SCMP_ACT_NOTIFY' }],
    ...more,
  });

  const specWith = (script: string, seccomp: LinuxSeccomp, change?: (spec: Spec) => void): Spec =>
    shellSpec(lab.rootfs, script, (spec) => {
      spec.linux!.seccomp = seccomp;
      change?.(spec);
    });

  it('sends its listener to the agent with the state of the container, and obeys it', async () => {
    agent.answer = ({ syscall }) => (syscall === NUMBERS.get('mkdir') ? { errno: 38 } : { continue: true });
    const spec = specWith(
      'mkdir /tmp/denied 2>&1; touch /tmp/x; rm /tmp/x; echo done',
      profile(['mkdir', 'mkdirat', 'unlink', 'unlinkat'], { listenerMetadata: 'who asks: "me"' }),
    );
    const container = await lab.runtime.create('c', { spec, bundle: lab.directory });
    const { pid } = container;
    expect(agent.states).toEqual([]);
    const attachment = await container.attach();
    await container.start();
    const { stdout } = await collect(attachment);
    expect(stdout).toBe("mkdir: can't create directory '/tmp/denied': Function not implemented\ndone\n");
    expect(agent.states).toEqual([
      {
        ociVersion: '1.2.0',
        fds: ['seccompFd'],
        pid,
        metadata: 'who asks: "me"',
        state: {
          ociVersion: '1.2.0',
          id: 'c',
          status: 'created',
          pid,
          bundle: lab.directory,
          annotations: {},
        },
      },
    ]);
    expect(agent.seen.length).toBeGreaterThanOrEqual(2);
    expect(agent.seen[0]).toMatchObject({
      id: expect.any(BigInt) as bigint,
      args: expect.any(Array) as bigint[],
    });
    expect(agent.seen[0]!.args).toHaveLength(6);
    await container.delete({ force: true });
  });

  it('may make up what calls return', async () => {
    agent.answer = () => ({ value: 4711n });
    const spec = specWith('id -u', profile(['getuid', 'geteuid']));
    expect(await runToEnd(lab.runtime, 'c', { spec })).toMatchObject({ stdout: '4711\n', exitCode: 0 });
  });

  it('compares arguments before it asks', async () => {
    agent.answer = () => ({ errno: 1 });
    const args = [{ index: 1, value: 0o700, op: 'SCMP_CMP_EQ' as const }];
    const seccomp = profile([]);
    seccomp.syscalls = [{ names: ['chmod'], action: 'SCMP_ACT_NOTIFY', args }];
    const spec = specWith(
      'touch /tmp/f; chmod 755 /tmp/f && echo one; chmod 700 /tmp/f 2>&1; rm /tmp/f',
      seccomp,
    );
    const { stdout } = await runToEnd(lab.runtime, 'c', { spec });
    expect(stdout).toMatch(/^one\nchmod: .*Operation not permitted\n$/);
    expect(agent.seen).toHaveLength(1);
  });

  it('can be about every call that comes after it, those of the handover too', async () => {
    const names = [...NUMBERS.keys()].filter((name) => name !== 'exit_group');
    const spec = specWith('true', profile(names), (changed) => {
      changed.process!.args = ['true'];
      changed.process!.noNewPrivileges = true;
    });
    expect(await runToEnd(lab.runtime, 'c', { spec })).toMatchObject({ exitCode: 0 });
    const seen = new Set(agent.seen.map(({ syscall }) => syscall));
    for (const name of ['execve', 'wait4', 'close_range', 'rt_sigprocmask'])
      expect(seen.has(NUMBERS.get(name)!), name).toBe(true);
    // the program finds no child that it has not made: whoever handed the listener over is gone
    expect(agent.seen.every(({ pid }) => pid > 0)).toBe(true);
  });

  it('works without no_new_privs, and with the flags that go with it', async () => {
    for (const flags of [
      [],
      ['SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV'],
      ['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW'],
    ] as LinuxSeccomp['flags'][]) {
      const spec = specWith('grep CapEff /proc/self/status', profile(['getppid'], { flags }), (changed) => {
        changed.process!.noNewPrivileges = false;
      });
      const { stdout, exitCode } = await runToEnd(lab.runtime, 'c', { spec });
      expect({ stdout, exitCode }).toEqual({ stdout: 'CapEff:\t00000000a80425fb\n', exitCode: 0 });
    }
    // of itself it says nothing, and the kernel would refuse it
    const spec = specWith('echo fine', {
      defaultAction: 'SCMP_ACT_ALLOW',
      flags: ['SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV'],
    });
    expect((await runToEnd(lab.runtime, 'c', { spec })).stdout).toBe('fine\n');
  });

  it('of an exec is another one, told of with the pid of both', async () => {
    const container = await lab.runtime.create('c', { spec: specWith('sleep 1000', profile(['mkdir'])) });
    await container.start();
    agent.answer = () => ({ errno: 13 });
    const process = await container.exec({ args: ['mkdir', '/tmp/never'], env: ['PATH=/bin'] });
    const { stderr } = await collect(await process.attach());
    expect(stderr).toContain('Permission denied');
    expect(agent.states).toMatchObject([
      { pid: container.pid, state: { status: 'created' } },
      { state: { status: 'running', pid: container.pid, id: 'c' } },
    ]);
    expect(agent.states[1]!.pid).not.toBe(container.pid);
    await process.wait();
    await process[Symbol.asyncDispose]();
    await container.delete({ force: true });
  });

  it('tells when a call is not waited for any more', async () => {
    const spec = specWith('mkdir /tmp/never', profile(['mkdir']));
    const container = await lab.runtime.create('c', { spec });
    const gone = new Promise<{ before: boolean; after: boolean; answered: boolean }>((resolve) => {
      agent.answer = ({ id }, listener) => {
        const before = notificationIsValid(listener, id);
        for (const pid of readFileSync(`/proc/${container.pid}/task/${container.pid}/children`, 'utf8').split(
          ' ',
        ))
          if (pid) process.kill(Number(pid), 'SIGKILL');
        process.kill(container.pid, 'SIGKILL');
        while (notificationIsValid(listener, id)) continue;
        resolve({
          before,
          after: notificationIsValid(listener, id),
          answered: answerNotification(listener, id, { continue: true }),
        });
        return { errno: 1 };
      };
    });
    await container.start();
    expect(await gone).toEqual({ before: true, after: false, answered: false });
    await container.wait();
    await container.delete();
  });

  it('without anybody who listens fails the start, and an exec, and says at which path', async () => {
    const missing = join(lab.directory, 'nobody.sock');
    const spec = specWith('sleep 1000', profile(['mkdir'], { listenerPath: missing }));
    const container = await lab.runtime.create('c', { spec });
    await expect(container.start()).rejects.toMatchObject({
      code: 'SETUP_FAILED',
      step: 'SECCOMP_LISTENER',
      field: 'linux.seccomp.listenerPath',
      errnoCode: 'ENOENT',
      path: missing,
    });
    await container.wait();
    await container.delete();

    const other = await lab.runtime.create('c', { spec: specWith('sleep 1000', profile(['mkdir'])) });
    await other.start();
    rmSync(path);
    await expect(other.exec({ args: ['true'], env: ['PATH=/bin'] })).rejects.toMatchObject({
      step: 'SECCOMP_LISTENER',
      errnoCode: 'ENOENT',
    });
    await expect.poll(() => other.pids()).toEqual([other.pid]);
    await other.delete({ force: true });
  });

  it('is refused without a path, with metadata for nobody, or with a path that no socket can have', async () => {
    const cases: [LinuxSeccomp, string][] = [
      [{ ...profile(['mkdir']), listenerPath: undefined }, 'linux.seccomp.listenerPath'],
      [{ defaultAction: 'SCMP_ACT_ALLOW', listenerMetadata: 'x' }, 'linux.seccomp.listenerMetadata'],
      [profile(['mkdir'], { listenerPath: `/${'x'.repeat(107)}` }), 'linux.seccomp.listenerPath'],
    ];
    for (const [seccomp, field] of cases) {
      await expect(lab.runtime.create('c', { spec: specWith('true', seccomp) })).rejects.toMatchObject({
        code: 'INVALID_SPEC',
        field,
      });
    }
  });
});
