/**
 * What every runtime must do. Run it over your own:
 *
 * ```ts
 * import { describe, it } from 'vitest'; // or node:test
 * import { runtimeSuite } from '@tare/runtime-native/testing';
 * runtimeSuite({ describe, it }, 'my runtime', async () => ({ runtime: new MyRuntime(), rootfs: '/path/of/busybox' }));
 * ```
 */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert';

import type { Attachment, Container, CreateOptions, Runtime, StdioOptions } from '../runtime.ts';
import { defaultSpec } from '../spec/defaults.ts';
import type { Spec } from '../spec/config.ts';

/** The two functions needed of a test framework; vitest, jest, mocha and node:test have them. */
export interface TestFramework {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void>): unknown;
}

/** What the suite needs: a runtime, and a directory with busybox as `/bin/sh` and its friends. */
export interface RuntimeFixture {
  runtime: Runtime;
  /** Absolute path of a root file system, read and written by the tests. */
  rootfs: string;
  /** Somebody else than root whom the runtime has in its containers; default `{ uid: 12, gid: 34 }`. */
  user?: { uid: number; gid: number };
  /** Called after each test. */
  dispose?(): Promise<void>;
}

/** Everything that an attachment delivers, by stream. */
export async function collect(attachment: Attachment): Promise<{ stdout: string; stderr: string }> {
  const parts: Record<'stdout' | 'stderr', Uint8Array[]> = { stdout: [], stderr: [] };
  for await (const { stream, data } of attachment.output) parts[stream].push(data);
  return { stdout: Buffer.concat(parts.stdout).toString(), stderr: Buffer.concat(parts.stderr).toString() };
}

/** A spec that runs a shell script in `rootfs` with the defaults of this package, in namespaces of its own. */
export function shellSpec(rootfs: string, script: string, change?: (spec: Spec) => void): Spec {
  const spec = defaultSpec(['sh', '-c', script]);
  spec.root = { path: rootfs };
  change?.(spec);
  return spec;
}

/** How a container ended and what it wrote. */
export interface RunResult {
  stdout: string;
  stderr: string;
  exitCode: number;
  signal: number | undefined;
  oomKilled: boolean;
}

/** Creates, attaches, starts, waits, deletes. */
export async function runToEnd(runtime: Runtime, id: string, options: CreateOptions): Promise<RunResult> {
  const container = await runtime.create(id, options);
  try {
    const attachment = await container.attach();
    await container.start();
    const output = await collect(attachment);
    const { exitCode, signal, oomKilled } = await container.wait();
    return { ...output, exitCode, signal, oomKilled };
  } finally {
    await container.delete({ force: true });
  }
}

const SIGTERM = 15;
const SIGKILL = 9;

/** Registers the conformance tests of {@link Runtime} under `name`. */
export function runtimeSuite(
  { describe, it }: TestFramework,
  name: string,
  create: () => Promise<RuntimeFixture>,
): void {
  function test(
    sentence: string,
    body: (runtime: Runtime, rootfs: string, user: { uid: number; gid: number }) => Promise<void>,
  ): void {
    it(sentence, async () => {
      const fixture = await create();
      try {
        await body(fixture.runtime, fixture.rootfs, fixture.user ?? { uid: 12, gid: 34 });
      } finally {
        for (const { id } of await fixture.runtime.list()) {
          await (await fixture.runtime.load(id)).delete({ force: true });
        }
        await fixture.dispose?.();
      }
    });
  }

  async function make(
    runtime: Runtime,
    rootfs: string,
    script: string,
    stdio?: StdioOptions,
    id = 'one',
  ): Promise<Container> {
    return runtime.create(id, { spec: shellSpec(rootfs, script), ...(stdio ? { stdio } : {}) });
  }

  describe(`${name} as a runtime`, () => {
    test('runs a program and tells how it ended', async (runtime, rootfs) => {
      const result = await runToEnd(runtime, 'one', {
        spec: shellSpec(rootfs, 'echo out; echo err >&2; exit 3'),
      });
      deepStrictEqual(result, {
        stdout: 'out\n',
        stderr: 'err\n',
        exitCode: 3,
        signal: undefined,
        oomKilled: false,
      });
    });

    test('waits at the start gate until it is started', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'exit 0');
      strictEqual((await container.state()).status, 'created');
      ok(container.pid > 0);
      await container.start();
      await container.wait();
      strictEqual((await container.state()).status, 'stopped');
      strictEqual(container.pid, 0);
    });

    test('gives every waiter the same answer, also after the end', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'exit 7');
      const early = container.wait();
      await container.start();
      const [first, second] = await Promise.all([early, container.wait()]);
      deepStrictEqual(first, second);
      deepStrictEqual(await container.wait(), first);
      strictEqual(first.exitCode, 7);
    });

    test('stops waiting when the signal says so, without harm to the container', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      const abort = new AbortController();
      const waiting = container.wait({ signal: abort.signal });
      abort.abort(new Error('enough'));
      await rejects(waiting, /enough/);
      strictEqual((await container.state()).status, 'running');
    });

    test('reports a signal as 128 and its number', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      await container.kill(SIGKILL);
      const { exitCode, signal } = await container.wait();
      deepStrictEqual({ exitCode, signal }, { exitCode: 137, signal: SIGKILL });
      await rejects(container.kill(SIGTERM), { code: 'NOT_RUNNING' });
    });

    test('delivers signals that the program handles', async (runtime, rootfs) => {
      const container = await make(
        runtime,
        rootfs,
        'trap "echo got it; exit 5" TERM; echo ready; while :; do sleep 0.01; done',
      );
      const attachment = await container.attach();
      await container.start();
      let seen = '';
      for await (const { data } of attachment.output) {
        seen += Buffer.from(data).toString();
        if (seen === 'ready\n') await container.kill(SIGTERM);
      }
      strictEqual(seen, 'ready\ngot it\n');
      strictEqual((await container.wait()).exitCode, 5);
    });

    test('says which program it could not execute, with 127 and 126', async (runtime, rootfs) => {
      for (const [program, code, exitCode, message] of [
        ['no-such-program', 'ENOENT', 127, /exec: "no-such-program": executable file not found in \$PATH/],
        ['/no/such/program', 'ENOENT', 127, /no such file or directory/],
        ['/etc', 'EACCES', 126, /permission denied/],
      ] as const) {
        const spec = shellSpec(rootfs, '');
        spec.process!.args = [program];
        const container = await runtime.create('one', { spec });
        await rejects(container.start(), (error: Error & { code: string; errnoCode: string }) => {
          strictEqual(error.code, 'EXEC_FAILED');
          strictEqual(error.errnoCode, code);
          ok(message.test(error.message), error.message);
          return true;
        });
        strictEqual((await container.wait()).exitCode, exitCode);
        await container.delete();
      }
    });

    test('feeds stdin and closes it when the client does', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'cat; echo end', { openStdin: true, stdinOnce: true });
      const attachment = await container.attach({ stdin: true });
      await container.start();
      await attachment.write(Buffer.from('hello\n'));
      await attachment.closeStdin();
      strictEqual((await collect(attachment)).stdout, 'hello\nend\n');
    });

    test('passes two megabytes through stdin and back', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'cat', { openStdin: true, stdinOnce: true });
      const attachment = await container.attach({ stdin: true });
      await container.start();
      const text = 'abcdefghi\n'.repeat(200_000);
      const output = collect(attachment);
      await attachment.write(Buffer.from(text));
      await attachment.closeStdin();
      strictEqual((await output).stdout, text);
    });

    test('reads end-of-file from stdin that nobody asked for', async (runtime, rootfs) => {
      const { stdout } = await runToEnd(runtime, 'one', {
        spec: shellSpec(rootfs, 'cat; cat /dev/stdin; echo end'),
      });
      strictEqual(stdout, 'end\n');
    });

    test('gives a terminal with the size asked for, and resizes it', async (runtime, rootfs) => {
      const script = 'trap "stty size; exit" WINCH; test -t 0 && stty size; while :; do sleep 0.01; done';
      const container = await make(runtime, rootfs, script, {
        terminal: true,
        openStdin: true,
        consoleSize: { columns: 91, rows: 17 },
      });
      const attachment = await container.attach();
      await container.start();
      let seen = '';
      for await (const { data } of attachment.output) {
        const before = seen;
        seen += Buffer.from(data).toString();
        if (seen.includes('17 91\r\n') && !before.includes('17 91\r\n')) {
          await container.resize({ columns: 120, rows: 40 });
        }
      }
      strictEqual(seen, '17 91\r\n40 120\r\n');
    });

    test('refuses to resize what is no terminal', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      await rejects(container.resize({ columns: 80, rows: 24 }), { code: 'NOT_A_TERMINAL' });
    });

    test('sends the output to every client', async (runtime, rootfs) => {
      const container = await make(
        runtime,
        rootfs,
        'i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done',
      );
      const attachments = await Promise.all([container.attach(), container.attach(), container.attach()]);
      await container.start();
      const outputs = await Promise.all(attachments.map(collect));
      strictEqual(outputs[0]!.stdout.split('\n').length, 2001);
      deepStrictEqual(outputs[1], outputs[0]);
      deepStrictEqual(outputs[2], outputs[0]);
    });

    test('detaches a client and leaves the process alone', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'while :; do echo tick; sleep 0.01; done');
      const attachment = await container.attach();
      await container.start();
      for await (const { data } of attachment.output) {
        ok(data.length > 0);
        await attachment.close();
      }
      strictEqual((await container.state()).status, 'running');
    });

    test('pauses and resumes', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'while :; do echo tick; sleep 0.01; done');
      await container.start();
      await container.pause();
      strictEqual((await container.state()).status, 'paused');
      await rejects(container.exec({ args: ['true'], env: [] }), { code: 'INVALID_STATE' });
      await container.resume();
      strictEqual((await container.state()).status, 'running');
    });

    test('deletes a paused container by force', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      await container.pause();
      await container.delete({ force: true });
      deepStrictEqual(await runtime.list(), []);
    });

    test('executes further processes inside', async (runtime, rootfs, user) => {
      const container = await make(runtime, rootfs, 'echo $$ > /tmp/first; sleep 1000');
      await container.start();
      await using process = await container.exec({
        args: ['sh', '-c', 'echo $FOO; pwd; id -u; echo problem >&2; exit 9'],
        env: ['PATH=/bin', 'FOO=bar'],
        cwd: '/tmp',
        user,
      });
      const output = await collect(await process.attach());
      deepStrictEqual(output, { stdout: `bar\n/tmp\n${user.uid}\n`, stderr: 'problem\n' });
      strictEqual((await process.wait()).exitCode, 9);
    });

    test('keeps the output of an exec for its first client, also past its end', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      await using process = await container.exec({ args: ['echo', 'early'], env: ['PATH=/bin'] });
      await process.wait();
      strictEqual((await collect(await process.attach())).stdout, 'early\n');
    });

    test('lets a detached exec write without anybody reading', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      await using process = await container.exec({
        args: ['sh', '-c', 'head -c 300000 /dev/zero; exit 4'],
        env: ['PATH=/bin'],
        detached: true,
      });
      strictEqual((await process.wait()).exitCode, 4);
    });

    test('refuses an exec of what is not there, and of anything in a container that does not run', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await rejects(container.exec({ args: ['true'], env: [] }), { code: 'NOT_RUNNING' });
      await container.start();
      await rejects(container.exec({ args: ['nothing'], env: ['PATH=/bin'] }), {
        code: 'EXEC_FAILED',
        errnoCode: 'ENOENT',
      });
      await rejects(container.exec({ args: ['true'], env: ['PATH=/bin'], cwd: '/missing' }), {
        code: 'SETUP_FAILED',
        errnoCode: 'ENOENT',
        path: '/missing',
      });
    });

    test('gives an exec a terminal of its own', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      await using process = await container.exec({
        args: ['sh', '-c', 'stty size; tty'],
        env: ['PATH=/bin'],
        stdio: { terminal: true, openStdin: true, consoleSize: { columns: 66, rows: 33 } },
      });
      const { stdout } = await collect(await process.attach({ stdin: true }));
      strictEqual(stdout, '33 66\r\n/dev/pts/0\r\n');
    });

    test('finds the processes again that it has executed with an id, and how they ended', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      const env = ['PATH=/bin'];
      const runs = await container.exec({
        args: ['sleep', '1000'],
        env,
        id: 'runs',
        annotations: { a: '1' },
      });
      const ends = await container.exec({ args: ['sh', '-c', 'exit 7'], env, id: 'ends', detached: true });
      await using nameless = await container.exec({ args: ['sleep', '1000'], env, detached: true });
      strictEqual(nameless.id, undefined);
      await rejects(container.exec({ args: ['true'], env, id: 'runs' }), { code: 'ALREADY_EXISTS' });
      await rejects(container.exec({ args: ['true'], env, id: '../x' }), { code: 'INVALID_ID' });
      await rejects(container.exec({ args: ['nothing'], env, id: 'nothing' }), { code: 'EXEC_FAILED' });
      await rejects(runs.delete(), { code: 'STILL_RUNNING' });
      const { pid } = runs;
      await ends.wait();
      for (const made of [container, runs, ends]) await made[Symbol.asyncDispose]();

      await using again = await runtime.load('one');
      const found = new Map((await again.execs()).map((process) => [process.id, process]));
      deepStrictEqual([...found.keys()].toSorted(), ['ends', 'runs']);
      await using ended = found.get('ends')!;
      await using running = found.get('runs')!;
      strictEqual((await ended.wait()).exitCode, 7);
      strictEqual(running.pid, pid);
      deepStrictEqual(running.annotations, { a: '1' });
      await running.kill(SIGKILL);
      strictEqual((await running.wait()).exitCode, 137);
      await ended.delete();
      deepStrictEqual(
        (await again.execs()).map(({ id }) => id),
        ['runs'],
      );
    });

    test('finds a container again', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      const { pid } = container;
      await container[Symbol.asyncDispose]();
      await using again = await runtime.load('one');
      strictEqual(again.pid, pid);
      strictEqual((await again.state()).status, 'running');
      await again.kill(SIGKILL);
      strictEqual((await again.wait()).exitCode, 137);
      strictEqual((await (await runtime.load('one')).wait()).exitCode, 137);
    });

    test('refuses an id that is taken, unknown or malformed', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'true');
      await rejects(make(runtime, rootfs, 'true'), { code: 'ALREADY_EXISTS' });
      await rejects(runtime.load('two'), { code: 'NOT_FOUND' });
      for (const id of ['', '.', '..', '../x', 'a/b', '.hidden', 'x'.repeat(256), 'a\n']) {
        await rejects(make(runtime, rootfs, 'true', undefined, id), { code: 'INVALID_ID' });
        await rejects(runtime.load(id), { code: 'INVALID_ID' });
      }
      strictEqual((await container.state()).status, 'created');
    });

    test('deletes only what has stopped, unless forced', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await rejects(container.delete(), { code: 'STILL_RUNNING' });
      await container.start();
      await rejects(container.delete(), { code: 'STILL_RUNNING' });
      await container.delete({ force: true });
      await rejects(runtime.load('one'), { code: 'NOT_FOUND' });
      deepStrictEqual(await runtime.list(), []);
    });

    test('refuses to start twice', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      await rejects(container.start(), { code: 'INVALID_STATE' });
    });

    test('lists what there is', async (runtime, rootfs) => {
      const first = await make(runtime, rootfs, 'exit 3', undefined, 'first');
      await make(runtime, rootfs, 'true', undefined, 'second');
      await first.start();
      await first.wait();
      const states = (await runtime.list()).map(({ id, status, exit }) => ({
        id,
        status,
        code: exit?.exitCode,
      }));
      states.sort((a, b) => a.id.localeCompare(b.id));
      deepStrictEqual(states, [
        { id: 'first', status: 'stopped', code: 3 },
        { id: 'second', status: 'created', code: undefined },
      ]);
    });

    test('runs in one call, and deletes what does not start', async (runtime, rootfs) => {
      const container = await runtime.run('one', { spec: shellSpec(rootfs, 'exit 4') });
      strictEqual((await container.wait()).exitCode, 4);
      await container.delete();
      const spec = shellSpec(rootfs, 'true', (change) => (change.process!.args = ['/no/such/program']));
      await rejects(runtime.run('one', { spec }), { code: 'EXEC_FAILED', errnoCode: 'ENOENT' });
      deepStrictEqual(await runtime.list(), []);
    });

    test('tells what happens to a container, up to its exit', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'exit 5');
      const events = container.events()[Symbol.asyncIterator]();
      const first = events.next();
      await container.start();
      const exit = await container.wait();
      deepStrictEqual((await first).value, { type: 'exit', at: exit.exitedAt, status: exit });
      strictEqual((await events.next()).done, true);
      // the only event of one that has stopped
      const late = [];
      for await (const event of container.events()) late.push(event.type);
      deepStrictEqual(late, ['exit']);
    });

    test('lets go of every call that is aborted, and the container goes on', async (runtime, rootfs) => {
      const container = await make(runtime, rootfs, 'sleep 1000');
      await container.start();
      const options = { signal: AbortSignal.abort(new Error('no time')) };
      const calls = [
        container.state(options),
        container.start(options),
        container.kill(SIGKILL, options),
        container.killAll(SIGKILL, options),
        container.resize({ columns: 1, rows: 1 }, options),
        container.pause(options),
        container.resume(options),
        container.update({}, options),
        container.stats(options),
        container.pids(options),
        container.wait(options),
        container.attach(options),
        container.exec({ args: ['true'], env: [], ...options }),
        container.delete({ force: true, ...options }),
        runtime.load('one', options),
        runtime.list(options),
        container.events(options)[Symbol.asyncIterator]().next(),
      ];
      for (const call of calls) await rejects(call, /no time/);
      const later = new AbortController();
      const waiting = [container.wait(later), container.events(later)[Symbol.asyncIterator]().next()];
      later.abort(new Error('no patience'));
      for (const call of waiting) await rejects(call, /no patience/);
      strictEqual((await container.state()).status, 'running');
    });

    test('remembers the bundle and the annotations, also for those who load it', async (runtime, rootfs) => {
      const spec = shellSpec('.', 'true', (change) => (change.annotations = { note: 'well' }));
      await runtime.create('one', { spec, bundle: rootfs });
      await using found = await runtime.load('one');
      const { bundle, annotations } = await found.state();
      deepStrictEqual({ bundle, annotations }, { bundle: rootfs, annotations: { note: 'well' } });
      strictEqual(found.spec.root?.path, rootfs);
    });

    test('makes nothing when the signal is aborted before', async (runtime, rootfs) => {
      const spec = shellSpec(rootfs, 'true');
      await rejects(runtime.create('one', { spec, signal: AbortSignal.abort(new Error('no')) }), /no/);
      deepStrictEqual(await runtime.list(), []);
    });

    test('undoes everything when the signal is aborted on the way', async (runtime, rootfs) => {
      const abort = new AbortController();
      const creating = runtime.create('one', { spec: shellSpec(rootfs, 'true'), signal: abort.signal });
      abort.abort(new Error('changed my mind'));
      await rejects(creating, /changed my mind/);
      deepStrictEqual(await runtime.list(), []);
    });

    test('refuses a malformed spec with the path of the field', async (runtime, rootfs) => {
      const spec = shellSpec(rootfs, 'true');
      (spec.process as { cwd: string }).cwd = 'relative';
      await rejects(runtime.create('one', { spec }), { code: 'INVALID_SPEC', field: 'process.cwd' });
    });
  });
}
