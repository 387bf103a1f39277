/** Log drivers, from outside: what is kept, what is shown of it, and what is sent on. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`logs${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab({ flags: ['--log-opt', 'labels=by.default'] });
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const speak = (name: string, script: string, ...flags: string[]) =>
    lab.ok(['run', '--name', name, ...flags, lab.busybox, 'sh', '-c', script]);

  test('local keeps its file elsewhere, and is read as any other', async () => {
    await speak('local', 'echo one; echo two >&2', '--log-driver', 'local');
    expect((await lab.docker(['logs', 'local'])).stdout).toBe('one\n');
    expect(await lab.ok(['inspect', '-f', '{{.LogPath}}|{{.HostConfig.LogConfig.Type}}', 'local'])).toBe(
      '|local',
    );
    const id = await lab.ok(['inspect', '-f', '{{.Id}}', 'local']);
    expect(existsSync(join(lab.dataRoot, 'containers', id, 'local-logs', 'container.log'))).toBe(true);
  });

  test('none keeps nothing and says so', async () => {
    await speak('none', 'echo gone', '--log-driver', 'none');
    const { code, stderr } = await lab.docker(['logs', 'none']);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining('configured logging driver does not support reading'),
    ]);
    const { status } = await lab.api('GET', '/containers/none/logs?stdout=1');
    expect(status).toBe(501);
  });

  test('a driver that is not there, and options that no driver has, are refused at create', async () => {
    const refusal = async (...flags: string[]) =>
      (await lab.docker(['create', ...flags, lab.busybox])).stderr;
    expect(await refusal('--log-driver', 'fluentd')).toContain("no log driver named 'fluentd' is registered");
    expect(await refusal('--log-opt', 'nope=1')).toContain("unknown log opt 'nope' for json-file log driver");
  });

  test('details come before each line; the engine’s own options hold for its own driver', async () => {
    const flags = ['-e', 'WHO=a b', '-l', 'by.default=x', '--log-opt', 'env=WHO'];
    await speak('details', 'echo line', ...flags);
    expect(await lab.ok(['logs', '--details', 'details'])).toBe('WHO=a+b,by.default=x line');
    await speak('plain', 'echo line', '-l', 'by.default=x');
    expect((await lab.docker(['logs', '--details', 'plain'])).stdout).toBe('by.default=x line\n');
  });

  test('since, until and tail hold over files that were rotated', async () => {
    await speak(
      'rotated',
      'i=0; while [ $i -lt 900 ]; do echo "line $i of nine hundred, with some more text"; i=$((i+1)); done; sleep 2; echo last',
      '--log-opt',
      'max-size=20k',
      '--log-opt',
      'max-file=4', // prettier-ignore
    );
    const id = await lab.ok(['inspect', '-f', '{{.Id}}', 'rotated']);
    const files = await readdir(join(lab.dataRoot, 'containers', id));
    expect(files.filter((name) => name.startsWith(`${id}-json.log`))).toHaveLength(4);
    const lines = (await lab.ok(['logs', '-t', 'rotated'])).split('\n');
    const numbers = lines.slice(0, -1).map((line) => Number(/line (\d+) of/.exec(line)![1]));
    // the oldest are gone; of the others none is missing
    expect(numbers).toEqual(Array.from(numbers, (_, index) => numbers[0]! + index));
    expect(numbers.at(-1)).toBe(899);
    expect((await lab.ok(['logs', '--tail', '400', 'rotated'])).split('\n')).toHaveLength(400);
    const middle = lines[200]!.split(' ')[0]!;
    const since = (await lab.ok(['logs', '-t', '--since', middle, 'rotated'])).split('\n');
    expect(since).toEqual(lines.filter((line) => line.split(' ')[0]! >= middle));
    const until = (await lab.ok(['logs', '-t', '--until', middle, 'rotated'])).split('\n');
    expect(until).toEqual(lines.filter((line) => line.split(' ')[0]! <= middle));
    expect(await lab.ok(['logs', '--since', '1s', 'rotated'])).toMatch(/^(last)?$/);
  });

  test('rotated files are compressed, and read as before, followed too', async () => {
    const script =
      'i=0; while [ $i -lt 900 ]; do echo "line $i of nine hundred, with some more text"; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.1; done; sleep 1; echo last';
    const options = ['max-size=20k', 'max-file=4', 'compress=true'].flatMap((option) => [
      '--log-opt',
      option,
    ]);
    await lab.ok(['run', '-d', '--name', 'zipped', ...options, lab.busybox, 'sh', '-c', script]);
    const followed = (await lab.ok(['logs', '-f', 'zipped'])).split('\n');
    expect(followed.slice(-901)).toEqual([
      ...Array.from({ length: 900 }, (_, i) => `line ${i} of nine hundred, with some more text`),
      'last',
    ]);
    const id = await lab.ok(['inspect', '-f', '{{.Id}}', 'zipped']);
    const folder = join(lab.dataRoot, 'containers', id);
    const log = `${id}-json.log`;
    const files = await eventually('every old file is compressed', async () => {
      const names = (await readdir(folder)).filter((name) => name.includes('json.log')).toSorted();
      return names.length === 4 && names.slice(1).every((name) => name.endsWith('.gz')) ? names : undefined;
    });
    expect(files).toEqual([log, `${log}.1.gz`, `${log}.2.gz`, `${log}.3.gz`]);
    const lines = (await lab.ok(['logs', 'zipped'])).split('\n');
    expect(lines.length).toBeGreaterThan(450);
    expect(lines).toEqual(followed.slice(-lines.length));
    expect((await lab.ok(['logs', '--tail', '400', 'zipped'])).split('\n')).toEqual(lines.slice(-400));
    expect((await readdir(folder)).filter((name) => name.startsWith('.'))).toEqual([]);
    const refused = await lab.docker(['create', '--log-opt', 'compress=true', lab.busybox]);
    expect(refused.stderr).toContain(
      'compress cannot be true when max-file is less than 2 or max-size is not set',
    );
    await lab.ok(['rm', 'zipped']);
  });

  test('syslog gets every line by UDP, and docker logs has them too', async () => {
    const socket: UdpSocket = createSocket('udp4');
    const received: string[] = [];
    socket.on('message', (message) => received.push(message.toString()));
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const { port } = socket.address();
    const flags = ['--log-driver', 'syslog', '--log-opt', `syslog-address=udp://127.0.0.1:${port}`];
    await speak('udp', 'echo out; echo err >&2', ...flags, '--log-opt', 'tag={{.Name}}/{{.ID}}');
    await eventually('both lines', async () => (received.length >= 2 ? true : undefined));
    socket.close();
    const id = await lab.ok(['inspect', '-f', '{{.Id}}', 'udp']);
    expect(received.sort()).toEqual([
      expect.stringMatching(new RegExp(`^<27>.* udp/${id.slice(0, 12)}\\[\\d+\\]: err$`)),
      expect.stringMatching(new RegExp(`^<30>.* udp/${id.slice(0, 12)}\\[\\d+\\]: out$`)),
    ]);
    expect((await lab.docker(['logs', 'udp'])).stdout).toBe('out\n');
  });

  test('syslog by TCP loses no line while the daemon is away', async () => {
    await using sink = await listenLines();
    const address = `syslog-address=tcp://127.0.0.1:${sink.port}`;
    await lab.ok([
      'run',
      '-d',
      '--name',
      'tcp',
      '--log-driver',
      'syslog',
      '--log-opt',
      address,
      '--log-opt',
      'tag=t',
      lab.busybox,
      'sh',
      '-c',
      'i=0; while [ $i -lt 60 ]; do echo "tick $i"; i=$((i+1)); sleep 0.05; done',
    ]);
    const ticks = (): number[] =>
      sink.lines
        .flatMap((line) => Number(/tick (\d+)$/.exec(line)?.[1] ?? Number.NaN))
        .filter((n) => !Number.isNaN(n));
    await eventually('first ticks', async () => (ticks().length > 5 ? true : undefined));
    await lab.restartDaemon('SIGKILL');
    await eventually('the last tick', async () => (ticks().includes(59) ? true : undefined));
    // a few may come twice; none is left out
    expect([...new Set(ticks())]).toEqual(Array.from({ length: 60 }, (_, index) => index));
  });

  test('a container whose log cannot be sent does not start, and says why', async () => {
    for (const driver of ['syslog', 'journald']) {
      const flags = driver === 'syslog' ? ['--log-opt', 'syslog-address=unixgram:///nosuch'] : [];
      if (driver === 'journald' && existsSync('/run/systemd/journal/socket')) continue;
      const { code, stderr } = await lab.docker([
        'run',
        '--rm',
        '--log-driver',
        driver,
        ...flags,
        lab.busybox,
        'true',
      ]);
      expect([code, stderr]).toEqual([
        expect.any(Number),
        expect.stringContaining(`failed to initialize logging driver: ${driver} cannot be reached`),
      ]);
      expect(code).not.toBe(0);
    }
  });
});

/** A server that keeps the lines it is sent. */
async function listenLines(): Promise<{ port: number; lines: string[] } & AsyncDisposable> {
  const lines: string[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    let rest = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop()!;
      lines.push(...parts);
    });
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    lines,
    [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      return Promise.resolve();
    },
  };
}
