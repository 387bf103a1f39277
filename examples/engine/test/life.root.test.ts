/** The daemon as a service: reload by signal, what its manager is told of that, a file that is wrong. */
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { eventually } from '../../../test/lab/process.ts';
import { makeEngineHome, missingForDaemon } from './daemon.ts';
import { call, RawClient } from './http/harness.ts';

if (missingForDaemon !== undefined) console.warn(`skipping the daemon's life: ${missingForDaemon}`);

interface Info {
  Labels: string[];
  Debug: boolean;
  LoggingDriver: string;
  RegistryConfig: { Mirrors: string[] | null; IndexConfigs: Record<string, { Mirrors: string[] }> };
}

describe.skipIf(missingForDaemon !== undefined)('the daemon as a service', () => {
  it('takes up on SIGHUP what may change, tells of it, and keeps what it has when the file is wrong', async () => {
    await using home = await makeEngineHome();
    const file = join(home.directory, 'daemon.json');
    const write = (content: object): void => writeFileSync(file, JSON.stringify(content));
    write({ labels: ['a=1'], 'log-driver': 'local' });
    const daemon = await home.start('--config-file', file);
    const info = async (): Promise<Info> =>
      JSON.parse((await call(home.socketPath, 'GET', '/info')).body) as Info;
    expect(await info()).toMatchObject({ Labels: ['a=1'], Debug: false, LoggingDriver: 'local' });

    using events = new RawClient(connect({ path: home.socketPath }));
    events.socket.write('GET /events?filters={"type":["daemon"]} HTTP/1.1\r\nHost: x\r\n\r\n');
    await events.until('\r\n\r\n');
    write({
      labels: ['a=2', 'b=3'],
      debug: true,
      'registry-mirrors': ['https://mirror.example'],
      mirrors: { 'ghcr.example': ['https://m1.example', 'https://m2.example/path'] },
      'max-concurrent-downloads': 7,
      'log-driver': 'json-file',
    });
    process.kill(daemon.pid, 'SIGHUP');
    await events.until('"max-concurrent-downloads":"7"');
    const now = await eventually('the new labels', async () => {
      const found = await info();
      return found.Labels.length === 2 ? found : undefined;
    });
    expect(now).toMatchObject({ Labels: ['a=2', 'b=3'], Debug: true, LoggingDriver: 'local' });
    expect(now.RegistryConfig.Mirrors).toEqual(['https://mirror.example']);
    expect(now.RegistryConfig.IndexConfigs['ghcr.example']?.Mirrors).toEqual([
      'https://m1.example',
      'https://m2.example/path',
    ]);
    // what waits for the next start is named
    expect(daemon.output).toContain('containerDefaults');

    writeFileSync(file, '{ "labels": [');
    process.kill(daemon.pid, 'SIGHUP');
    await eventually('the complaint', async () =>
      daemon.output.includes('the configuration was not reloaded') ? true : undefined,
    );
    expect((await info()).Labels).toEqual(['a=2', 'b=3']);
    expect((await daemon.stop()).code).toBe(0);
  });

  it('tells its service manager when it is ready, reloads and stops', async () => {
    await using home = await makeEngineHome();
    const path = join(home.directory, 'notify');
    const listener = spawn('python3', ['-u', '-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    let told = '';
    listener.stdout.setEncoding('utf8').on('data', (data: string) => (told += data));
    await eventually('the listener', async () => (existsSync(path) ? true : undefined));
    process.env['NOTIFY_SOCKET'] = path;
    try {
      const daemon = await home.start();
      await eventually('ready', async () => (/^READY=1 STATUS=.*\n$/.test(told) ? true : undefined));
      process.kill(daemon.pid, 'SIGHUP');
      await eventually('reloaded', async () =>
        /\nRELOADING=1 MONOTONIC_USEC=\d+\nREADY=1 .*\n$/.test(told) ? true : undefined,
      );
      expect((await daemon.stop()).code).toBe(0);
      await eventually('stopping', async () => (told.endsWith('\nSTOPPING=1\n') ? true : undefined));
    } finally {
      delete process.env['NOTIFY_SOCKET'];
      listener.kill();
      await once(listener, 'close');
    }
  });
});

const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    print(s.recv(4096).decode().replace("\\n", " "))
`;
