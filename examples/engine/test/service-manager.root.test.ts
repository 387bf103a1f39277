/** The daemon as a service: started with a socket that is open already, telling when it is ready and when it stops. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { eventually } from '../../../test/lab/process.ts';
import { inheritedSockets, serviceManager, withInherited } from '../src/system/service-manager.ts';
import { missingForDaemon } from './daemon.ts';
import { call } from './http/harness.ts';

describe('inherited sockets', () => {
  it('are those meant for this process, by name', () => {
    const environment = { LISTEN_PID: '7', LISTEN_FDS: '1', LISTEN_FDNAMES: 'a', HOME: '/' };
    expect(inheritedSockets(environment, 7)).toMatchObject([{ fd: 3, name: 'a', taken: false }]);
    // what we start must not take them for its own
    expect(environment).toEqual({ HOME: '/' });
  });

  it('are none for another process', () => {
    expect(inheritedSockets({ LISTEN_PID: '7', LISTEN_FDS: '2' }, 8)).toEqual([]);
    expect(inheritedSockets({}, 8)).toEqual([]);
  });
});

describe('the hosts', () => {
  const socket = { fd: 3, name: 'api', path: '/run/tare.sock', taken: false };

  it('are the inherited sockets too, each once', () => {
    expect(withInherited(['unix:///run/tare.sock'], [socket])).toEqual(['fd://']);
    expect(withInherited(['unix:///other', 'tcp://127.0.0.1:1'], [socket])).toEqual([
      'fd://',
      'unix:///other',
      'tcp://127.0.0.1:1',
    ]);
    expect(withInherited(['fd://api'], [socket])).toEqual(['fd://api']);
    expect(withInherited(['unix:///other'], [])).toEqual(['unix:///other']);
  });
});

describe('a service manager', () => {
  it('that is gone does not end the engine', () => {
    const manager = serviceManager({ NOTIFY_SOCKET: '/nonexistent' }, () => {
      throw new Error('nobody there');
    });
    expect(() => manager.notify('READY=1')).not.toThrow();
  });
});

describe.skipIf(missingForDaemon)(`the daemon as a service${missingForDaemon ?? ''}`, () => {
  it('serves on the socket it was given, and tells its manager of its life', async () => {
    const folder = await mkdtemp(join(tmpdir(), 's-'));
    const socket = join(folder, 's');
    const main = join(import.meta.dirname, '..', 'src', 'main.ts');
    const launcher = join(import.meta.dirname, 'service-manager.py');
    const flags = [
      ['--config-file', '/dev/null'],
      ['--data-root', join(folder, 'data')],
      ['--exec-root', join(folder, 'run')],
      ['--pidfile', join(folder, 'pid')],
    ].flat();
    const daemon = [process.execPath, '--conditions=@tare/source', main, ...flags];
    const child = spawn(
      'unshare',
      ['--net', 'python3', launcher, socket, join(folder, 'notify'), ...daemon],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let said = '';
    let log = '';
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
    const ended = once(child, 'close');
    try {
      // a client that comes before the daemon is ready waits on the socket
      await eventually('the socket is there', async () => (existsSync(socket) ? true : undefined));
      expect((await call(socket, 'GET', '/_ping')).status, log).toBe(200);
      await eventually('it says that it is ready', async () => (said.includes('READY=1') ? true : undefined));
      expect(said).toContain(`STATUS=Listening on unix://${socket}`);
      process.kill(Number(/started (\d+)/.exec(said)![1]), 'SIGTERM');
      expect(await ended).toEqual([0, null]);
      expect(said).toContain('STOPPING=1');
      // its file is the manager's to remove
      expect(existsSync(socket)).toBe(true);
    } finally {
      const pid = /started (\d+)/.exec(said)?.[1];
      if (pid !== undefined && existsSync(`/proc/${pid}`)) process.kill(Number(pid), 'SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('refuses fd:// when nothing was passed', async () => {
    const main = join(import.meta.dirname, '..', 'src', 'main.ts');
    const folder = await mkdtemp(join(tmpdir(), 's-'));
    try {
      const flags = ['--host', 'fd://', '--config-file', '/dev/null', '--data-root', join(folder, 'd')];
      const child = spawn(
        'unshare',
        [
          '--net',
          process.execPath,
          '--conditions=@tare/source',
          main,
          ...flags,
          '--exec-root',
          join(folder, 'r'),
          '--pidfile',
          join(folder, 'p'),
        ],
        { stdio: ['ignore', 'ignore', 'pipe'] },
      );
      let log = '';
      child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
      expect(await once(child, 'close')).toEqual([1, null]);
      expect(log).toContain('it is for being started by a socket unit of systemd');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
