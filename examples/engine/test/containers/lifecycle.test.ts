import { duplexPair } from 'node:stream';
import { constants } from 'node:os';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Filters } from '../../src/filters.ts';
import { coded, FakeHost, FakeProcess, startEngine, type FakeEngine } from './fakes.ts';

let host: FakeHost;
let engine: FakeEngine;

beforeEach(async () => {
  host = new FakeHost();
  engine = await startEngine(host);
});
afterEach(async () => {
  await engine[Symbol.asyncDispose]();
  host[Symbol.dispose]();
});

const never = new AbortController().signal;
const process_ = (id: string): FakeProcess => host.processes.get(id)!;
const state = (id: string) => engine.containers.find(id).state;

/** Actions of every event so far, and from now on until `action` has come. */
async function actionsUntil(action: string): Promise<string[]> {
  const seen: string[] = [];
  await using stream = engine.events.subscribe({ sinceNs: 1n, signal: AbortSignal.timeout(10_000) });
  for await (const event of stream) {
    seen.push(event.type === 'container' ? event.action : `${event.type} ${event.action}`);
    if (event.action === action) break;
  }
  return seen;
}

/** A client's end of a connection, and the engine's, as `hijack` gives it. */
function connection() {
  const [client, server] = duplexPair();
  const chunks: Buffer[] = [];
  const ended = new Promise<string>((resolve) => {
    client.on('data', (chunk: Buffer) => chunks.push(chunk));
    client.on('end', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
  return {
    client,
    ended,
    hijack: () => Promise.resolve({ duplex: server, upgraded: true }),
  };
}
const attachAll = {
  stdin: true,
  stdout: true,
  stderr: true,
  logs: false,
  stream: true,
  detachKeys: '',
  signal: never,
};

describe('create', () => {
  it('names what is missing, taken or wrong', async () => {
    await engine.create({}, 'web');
    await expect(engine.create({ Image: 'nosuch' })).rejects.toThrow('No such image: nosuch:latest');
    await expect(engine.create({}, 'web')).rejects.toThrow(
      /^Conflict\. The container name "\/web" is already in use by container "[0-9a-f]{64}"\. You have to remove/,
    );
    await expect(engine.create({}, '-x')).rejects.toThrow('Invalid container name (-x)');
    await expect(engine.create({ HostConfig: { Memory: 1 } })).rejects.toThrow('Minimum memory limit');
    await expect(engine.create({ HostConfig: { Runtime: 'x' } })).rejects.toThrow(
      'unknown or invalid runtime name',
    );
  });

  it('lets only one of many take a name', async () => {
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => engine.create({}, 'one')));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(host.snapshots.size).toBe(1);
  });

  it('leaves nothing when it fails halfway', async () => {
    host.failing.add('prepare');
    await expect(engine.create({ Volumes: { '/v': {} } }, 'web')).rejects.toThrow('disk full');
    host.failing.clear();
    expect(host.leftovers()).toEqual({ processes: 0, snapshots: 0, endpoints: 0, sandboxes: 0, mounted: 0 });
    expect(engine.volumes.list(new Filters())).toEqual([]);
    await engine.create({}, 'web');
  });
});

describe('start and exit', () => {
  it('publishes what happens in the order of dockerd', async () => {
    const id = await engine.create();
    await engine.containers.start(id);
    process_(id).end(3);
    await engine.containers.wait(id, 'not-running', never);
    await engine.containers.remove(id, { force: false, volumes: false });
    expect(await actionsUntil('destroy')).toEqual([
      'create',
      'network connect',
      'start',
      'die',
      'network disconnect',
      'destroy',
    ]);
    expect(host.leftovers()).toEqual({ processes: 0, snapshots: 0, endpoints: 0, sandboxes: 0, mounted: 0 });
  });

  it('records how it ended', async () => {
    const id = await engine.create();
    await engine.containers.start(id);
    expect(state(id)).toMatchObject({ running: true, exitCode: 0, error: '' });
    await expect(engine.containers.start(id)).rejects.toMatchObject({ code: 'NOT_MODIFIED' });
    process_(id).end(137, { oomKilled: true });
    expect(await engine.containers.wait(id, 'not-running', never)).toEqual({ exitCode: 137 });
    expect(state(id)).toMatchObject({ running: false, exitCode: 137, oomKilled: true, pid: 0 });
    expect(await actionsUntil('die')).toContain('oom');
  });

  it('can be started again', async () => {
    const id = await engine.create();
    for (const code of [1, 0]) {
      await engine.containers.start(id);
      process_(id).end(code);
      expect(await engine.containers.wait(id, 'not-running', never)).toEqual({ exitCode: code });
    }
  });

  it('wakes those who wait for the next exit before the start', async () => {
    const id = await engine.create();
    const exit = engine.containers.wait(id, 'next-exit', never);
    await engine.containers.start(id);
    process_(id).end(7);
    expect(await exit).toEqual({ exitCode: 7 });
  });

  it('removes itself when asked to, and tells those who wait for that', async () => {
    const id = await engine.create({ HostConfig: { AutoRemove: true } });
    const removed = engine.containers.wait(id, 'removed', never);
    await engine.containers.start(id);
    process_(id).end(4);
    expect(await removed).toEqual({ exitCode: 4 });
    expect(() => engine.containers.find(id)).toThrow(`No such container: ${id}`);
    expect(host.leftovers()).toEqual({ processes: 0, snapshots: 0, endpoints: 0, sandboxes: 0, mounted: 0 });
  });

  it('leaves nothing of a start that failed but its error', async () => {
    const id = await engine.create({ Cmd: ['nosuch'] });
    host.onCreate = (process) => {
      process.startError = coded('EXEC_FAILED', { errno: constants.errno.ENOENT });
    };
    await expect(engine.containers.start(id)).rejects.toThrow(
      'exec: "nosuch": executable file not found in $PATH',
    );
    expect(state(id)).toMatchObject({ running: false, exitCode: 127, startedAt: undefined });
    expect(state(id).error).toContain('executable file not found');
    expect(host.leftovers()).toEqual({ processes: 0, snapshots: 1, endpoints: 0, sandboxes: 0, mounted: 0 });
  });

  it('says which port is taken, and undoes everything', async () => {
    const ports = { HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } } };
    const first = await engine.create(ports);
    const second = await engine.create(ports, 'second');
    await engine.containers.start(first);
    await expect(engine.containers.start(second)).rejects.toThrow(
      /driver failed programming external connectivity on endpoint second \([0-9a-f]{64}\): Bind for 0\.0\.0\.0:8080 failed: port is already allocated/,
    );
    expect(host.leftovers()).toMatchObject({ processes: 1, endpoints: 1, sandboxes: 1 });
    await engine.containers.kill(first, undefined);
    await engine.containers.start(second);
  });

  it.each(['create', 'attach'] as const)('undoes a start whose %s fails', async (step) => {
    const id = await engine.create();
    host.failing.add(step);
    await expect(engine.containers.start(id)).rejects.toThrow();
    expect(host.leftovers()).toEqual({ processes: 0, snapshots: 1, endpoints: 0, sandboxes: 0, mounted: 0 });
  });
});

describe('stop and kill', () => {
  it('sends the stop signal, and SIGKILL when it is ignored', async () => {
    const id = await engine.create({ StopSignal: 'SIGUSR1' });
    host.onCreate = (process) => process.ignored.add(constants.signals.SIGUSR1);
    await engine.containers.start(id);
    const process = process_(id);
    await engine.containers.stop(id, { timeoutS: 0 });
    expect(process.signals).toEqual([constants.signals.SIGUSR1, constants.signals.SIGKILL]);
    expect(state(id)).toMatchObject({ running: false, exitCode: 137, manuallyStopped: true });
    await expect(engine.containers.stop(id, {})).rejects.toMatchObject({ code: 'NOT_MODIFIED' });
    expect(await actionsUntil('stop')).toEqual([
      'create',
      'network connect',
      'start',
      'kill',
      'kill',
      'die',
      'network disconnect',
      'stop',
    ]);
  });

  it('refuses to kill what does not run, in the words of dockerd', async () => {
    const id = await engine.create({}, 'web');
    await expect(engine.containers.kill('web', undefined)).rejects.toThrow(
      `cannot kill container: web: container ${id} is not running`,
    );
  });

  it('thaws a paused container so that it hears the signal', async () => {
    const id = await engine.create();
    await engine.containers.start(id);
    await engine.containers.pause(id);
    expect(state(id).paused).toBe(true);
    await expect(engine.containers.pause(id)).rejects.toThrow('is already paused');
    await engine.containers.stop(id, {});
    expect(state(id)).toMatchObject({ running: false, paused: false });
  });

  it('kills a paused container that ends of it before it can be thawed', async () => {
    const id = await engine.create();
    await engine.containers.start(id);
    await engine.containers.pause(id);
    await engine.containers.kill(id, 'KILL');
    await vi.waitUntil(() => !state(id).running);
    expect(state(id)).toMatchObject({ running: false, paused: false });
  });

  it('refuses to remove what runs, unless forced', async () => {
    const id = await engine.create({}, 'web');
    await engine.containers.start(id);
    await expect(engine.containers.remove('web', { force: false, volumes: false })).rejects.toThrow(
      'cannot remove container "/web": container is running: stop the container before removing or force remove',
    );
    await engine.containers.remove('web', { force: true, volumes: false });
    expect(host.leftovers()).toEqual({ processes: 0, snapshots: 0, endpoints: 0, sandboxes: 0, mounted: 0 });
  });

  it('restarts without removing what removes itself', async () => {
    const id = await engine.create({ HostConfig: { AutoRemove: true } });
    await engine.containers.start(id);
    const first = process_(id);
    await engine.containers.restart(id, {});
    expect(process_(id)).not.toBe(first);
    expect(state(id)).toMatchObject({ running: true, restartCount: 0 });
  });
});

describe('restart policies', () => {
  it('starts it again until it succeeds or the retries are used up', async () => {
    const id = await engine.create({
      HostConfig: { RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 2 } },
    });
    const runs: FakeProcess[] = [];
    host.onCreate = (process) => {
      runs.push(process);
      setImmediate(() => process.end(1));
    };
    let exit = engine.containers.wait(id, 'next-exit', never);
    await engine.containers.start(id);
    for (let exits = 1; exits < 3; exits += 1) {
      await exit;
      exit = engine.containers.wait(id, 'next-exit', never);
    }
    await exit;
    expect(runs).toHaveLength(3);
    expect(state(id)).toMatchObject({ running: false, restarting: false, restartCount: 2, exitCode: 1 });
  });

  it('leaves alone what a client stops, also while it waits for its restart', async () => {
    const id = await engine.create({ HostConfig: { RestartPolicy: { Name: 'always' } } });
    await engine.containers.start(id);
    process_(id).end(0);
    await engine.containers.wait(id, 'next-exit', never);
    expect(state(id)).toMatchObject({ running: true, restarting: true });
    await engine.containers.stop(id, {});
    expect(state(id)).toMatchObject({ running: false, restarting: false });
    await engine.containers.start(id);
    await engine.containers.stop(id, {});
    expect(state(id)).toMatchObject({ running: false, restarting: false, manuallyStopped: true });
  });
});

describe('attach', () => {
  it('gets what the process says first, when it was attached before the start', async () => {
    const id = await engine.create({ OpenStdin: true, StdinOnce: true });
    host.onCreate = (process) => {
      process.greeting = 'hello\n';
    };
    const { client, ended, hijack } = connection();
    const attached = engine.containers.attach(id, attachAll, hijack);
    client.write('input');
    client.end();
    await engine.containers.start(id);
    const process = process_(id);
    process.say('oops\n', 'stderr');
    // the client's end of input may have come already
    process.onEndOfInput = () => process.end(0);
    if (process.stdin.includes('EOF')) process.end(0);
    expect(await ended).toBe('\x01\0\0\0\0\0\0\x06hello\n\x02\0\0\0\0\0\0\x05oops\n');
    await attached;
    expect(process.stdin).toEqual(['input', 'EOF']);
  });

  it('goes on after a half-close of a client without stdin', async () => {
    const id = await engine.create();
    const { client, ended, hijack } = connection();
    const attached = engine.containers.attach(id, { ...attachAll, stdin: false }, hijack);
    client.end();
    await engine.containers.start(id);
    process_(id).say('late');
    process_(id).end(0);
    expect(await ended).toBe('\x01\0\0\0\0\0\0\x04late');
    await attached;
  });

  it('leaves with the end of its input a process that goes on reading from others', async () => {
    const id = await engine.create({ OpenStdin: true });
    await engine.containers.start(id);
    const process = process_(id);
    process.onEndOfInput = () => process.say('answer');
    const { client, ended, hijack } = connection();
    const attached = engine.containers.attach(id, attachAll, hijack);
    client.end('question');
    await attached;
    expect(await ended).toBe('\x01\0\0\0\0\0\0\x06answer');
    expect(state(id).running).toBe(true);
  });

  it('lets a client leave a terminal by its keys, and the process go on', async () => {
    const id = await engine.create({ Tty: true, OpenStdin: true });
    await engine.containers.start(id);
    const { client, ended, hijack } = connection();
    const attached = engine.containers.attach(id, attachAll, hijack);
    client.write('ls\x10');
    client.write('\x11');
    await attached;
    expect(await ended).toBe('');
    expect(process_(id).stdin).toEqual(['ls']);
    expect(state(id).running).toBe(true);
    expect(await actionsUntil('detach')).toContain('attach');
  });

  it('ends for everybody when the start fails', async () => {
    const id = await engine.create();
    const { ended, hijack } = connection();
    const attached = engine.containers.attach(id, attachAll, hijack);
    host.failing.add('create');
    await expect(engine.containers.start(id)).rejects.toThrow();
    expect(await ended).toBe('');
    await attached;
  });

  it('is refused by a paused container before the connection is taken over', async () => {
    const id = await engine.create();
    await engine.containers.start(id);
    await engine.containers.pause(id);
    const hijack = () => Promise.reject(new Error('taken over'));
    await expect(engine.containers.attach(id, attachAll, hijack)).rejects.toThrow(
      'is paused, unpause the container before attach',
    );
  });
});

describe('exec', () => {
  const running = async () => {
    const id = await engine.create({ Env: ['A=1'] });
    await engine.containers.start(id);
    return engine.containers.find(id);
  };

  it('streams, and knows the exit code once the stream has ended', async () => {
    const container = await running();
    const child = new FakeProcess('exec', 77);
    process_(container.id).onExec = (options) => {
      expect(options).toMatchObject({ args: ['echo', 'hi'], detached: false });
      expect(options.env).toEqual(expect.arrayContaining(['A=1', 'B=2', 'HOME=/']));
      setImmediate(() => {
        child.say('hi\n');
        child.end(5);
      });
      return child;
    };
    const id = engine.containers.execs.create(container, {
      Cmd: ['echo', 'hi'],
      Env: ['B=2'],
      AttachStdout: true,
      AttachStderr: true,
    });
    expect(engine.containers.execs.inspect(id)).toMatchObject({ Running: false, ExitCode: null, Pid: 0 });
    const { ended, hijack } = connection();
    await engine.containers.execs.start(id, {}, hijack, never);
    expect(await ended).toBe('\x01\0\0\0\0\0\0\x03hi\n');
    expect(engine.containers.execs.inspect(id)).toMatchObject({ Running: false, ExitCode: 5, Pid: 77 });
    const actions = await actionsUntil('exec_die');
    expect(actions.slice(-3)).toEqual(['exec_create: echo hi', 'exec_start: echo hi', 'exec_die']);
    await expect(engine.containers.execs.start(id, {}, hijack, never)).rejects.toMatchObject({
      code: 'CONFLICT',
    });
  });

  it('tells a program that is not there in the stream, and by 127', async () => {
    const container = await running();
    process_(container.id).onExec = () => {
      throw coded('EXEC_FAILED', { errno: constants.errno.ENOENT });
    };
    const id = engine.containers.execs.create(container, { Cmd: ['nosuch'], AttachStdout: true });
    const { ended, hijack } = connection();
    await engine.containers.execs.start(id, {}, hijack, never);
    expect(await ended).toMatch(
      /OCI runtime exec failed: .*exec: "nosuch": executable file not found in \$PATH: unknown\r\n$/,
    );
    expect(engine.containers.execs.inspect(id)).toMatchObject({ ExitCode: 127 });
  });

  it('answers a detached start by itself', async () => {
    const container = await running();
    const child = new FakeProcess('exec', 78);
    process_(container.id).onExec = () => child;
    const id = engine.containers.execs.create(container, { Cmd: ['x'] });
    const hijack = () => Promise.reject(new Error('taken over'));
    expect(await engine.containers.execs.start(id, { Detach: true }, hijack, never)).toBe('detached');
    await engine.containers.execs.resize(id, { columns: 80, rows: 24 });
    expect(child.size).toEqual({ columns: 80, rows: 24 });
    child.end(0);
  });

  it('needs a running container and a command', async () => {
    const id = await engine.create();
    const { execs } = engine.containers;
    expect(() => execs.create(engine.containers.find(id), { Cmd: ['x'] })).toThrow(
      `container ${id} is not running`,
    );
    const container = await running();
    expect(() => execs.create(container, {})).toThrow('No exec command specified');
    expect(() => execs.inspect('nosuch')).toThrow('No such exec instance: nosuch');
  });
});

describe('a new engine', () => {
  /** Ends the engine, which changes nothing, and starts another. */
  const next = async (): Promise<void> => {
    await engine[Symbol.asyncDispose]();
    engine = await startEngine(host);
  };

  it('finds what runs, and learns how it ends', async () => {
    const id = await engine.create({}, 'web');
    await engine.containers.start(id);
    await next();
    expect(state('web')).toMatchObject({ running: true, pid: process_(id).pid });
    expect(host.reconciled.at(-1)!.endpoints).toHaveLength(1);
    const exit = engine.containers.wait('web', 'not-running', never);
    process_(id).end(9);
    expect(await exit).toEqual({ exitCode: 9 });
    expect(host.leftovers()).toEqual({ processes: 0, snapshots: 1, endpoints: 0, sandboxes: 0, mounted: 0 });
  });

  it('learns of an end that nobody saw', async () => {
    const id = await engine.create();
    await engine.containers.start(id);
    const exits = process_(id);
    await engine[Symbol.asyncDispose]();
    exits.end(5);
    engine = await startEngine(host);
    expect(await engine.containers.wait(id, 'not-running', never)).toEqual({ exitCode: 5 });
  });

  it('says 255 of what vanished with its monitor', async () => {
    const id = await engine.create();
    await engine.containers.start(id);
    host.processes.clear();
    await next();
    expect(state(id)).toMatchObject({ running: false, exitCode: 255, pid: 0 });
    expect(host.leftovers()).toEqual({ processes: 0, snapshots: 1, endpoints: 0, sandboxes: 0, mounted: 0 });
  });

  it('sweeps what nobody owns, and nothing else', async () => {
    const id = await engine.create();
    await engine.containers.start(id);
    host.processes.set('f'.repeat(64), new FakeProcess('f'.repeat(64), 1));
    host.processes.get('f'.repeat(64))!.onDelete = () => host.processes.delete('f'.repeat(64));
    host.snapshots.set('e'.repeat(64), undefined);
    host.snapshots.set('unpack-1', undefined);
    await next();
    expect([...host.processes.keys()]).toEqual([id]);
    expect([...host.snapshots.keys()].sort()).toEqual([id, 'unpack-1'].sort());
  });

  it('removes what should have gone with its end', async () => {
    const id = await engine.create({ HostConfig: { AutoRemove: true } });
    await next();
    const removed = actionsUntil('destroy');
    expect(await removed).toContain('destroy');
    expect(() => engine.containers.find(id)).toThrow('No such container');
    expect(host.leftovers()).toEqual({ processes: 0, snapshots: 0, endpoints: 0, sandboxes: 0, mounted: 0 });
  });

  it('starts what its policy wants running', async () => {
    const policy = (Name: string) => ({ HostConfig: { RestartPolicy: { Name } } });
    const ids = {
      always: await engine.create(policy('always')),
      unlessStopped: await engine.create(policy('unless-stopped')),
      no: await engine.create(),
      never: await engine.create(policy('always')),
    };
    for (const id of [ids.always, ids.unlessStopped, ids.no]) {
      await engine.containers.start(id);
      await engine.containers.stop(id, {});
    }
    await next();
    expect(state(ids.always)).toMatchObject({ running: true });
    expect(state(ids.unlessStopped)).toMatchObject({ running: false });
    expect(state(ids.no)).toMatchObject({ running: false });
    expect(state(ids.never).running).toBe(false);
    await actionsUntil('start');
    expect(state(ids.always)).toMatchObject({ running: true, restarting: false });
  });
});

describe('names', () => {
  it('can be changed, also while it runs', async () => {
    const id = await engine.create({}, 'web');
    await engine.create({}, 'other');
    await engine.containers.rename('web', 'site');
    expect(engine.containers.find('site').id).toBe(id);
    await expect(engine.containers.rename('site', 'other')).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(engine.containers.rename('site', 'site')).rejects.toThrow('same name');
    await expect(engine.containers.rename('site', '')).rejects.toThrow(
      'Neither old nor new names may be empty',
    );
  });
});
