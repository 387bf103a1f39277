/** Published ports and what is not published; the suite's namespace is the host. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../../../test/lab/registry.ts';
import { eventually } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, servePage, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`network${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const serve = (name: string, ...flags: string[]) => servePage(lab, name, flags);

  test('a published port is reached from the host, and is free again afterwards', async () => {
    const port = await freePort();
    await serve('web', '-p', `127.0.0.1:${port}:80`);
    expect(await fetchText(`http://127.0.0.1:${port}/`)).toBe('web\n');
    expect(await lab.ok(['port', 'web'])).toBe(`80/tcp -> 127.0.0.1:${port}`);
    expect(await lab.ok(['ps', '--filter', 'name=web', '--format', '{{.Ports}}'])).toBe(
      `127.0.0.1:${port}->80/tcp`,
    );
    const taken = await lab.docker(['run', '--rm', '-p', `127.0.0.1:${port}:80`, lab.busybox, 'true']);
    expect(taken.code).toBe(125);
    expect(taken.stderr).toContain(`Bind for 127.0.0.1:${port} failed: port is already allocated`);
    await lab.ok(['rm', '-f', 'web']);
    expect(await reachable('127.0.0.1', port)).toBe(false);
  });

  test('a port without a host port gets one of its own', async () => {
    await serve('any', '-p', '80');
    const port = Number(/:(\d+)$/m.exec(await lab.ok(['port', 'any', '80/tcp']))![1]);
    expect(await fetchText(`http://127.0.0.1:${port}/`)).toBe('any\n');
    await lab.ok(['rm', '-f', 'any']);
  });

  test('UDP is published', async () => {
    const port = await freePort();
    await lab.ok([
      'run',
      '-d',
      '--name',
      'datagrams',
      '-p',
      `${port}:9000/udp`,
      lab.busybox,
      'udp-echo',
      '9000',
    ]);
    expect(await eventually('the echo arrives', () => echoOf('ping', port))).toBe('ping');
    await lab.ok(['rm', '-f', 'datagrams']);
  });

  test('containers of one network reach each other by address', async () => {
    await serve('server');
    const address = await lab.ok([
      'inspect',
      '-f',
      '{{.NetworkSettings.Networks.bridge.IPAddress}}',
      'server',
    ]);
    expect(address).toMatch(/^172\.\d+\.0\.\d+$/);
    const page = await eventually('the server answers', async () => {
      const { stdout } = await lab.docker([
        'run',
        '--rm',
        lab.busybox,
        'wget',
        '-q',
        '-O',
        '-',
        `http://${address}/`,
      ]);
      return stdout === '' ? undefined : stdout;
    });
    expect(page).toBe('server\n');
    await lab.ok(['rm', '-f', 'server']);
  });

  test("with --network host the container is in the host's network", async () => {
    const links = await lab.ok([
      'run',
      '--rm',
      '--network',
      'host',
      lab.busybox,
      'sh',
      '-c',
      'ip -o link | grep -c ": tare0:"',
    ]);
    expect(links).toBe('1');
  });
});

/** Sends a datagram to the host's loopback; what comes back within a moment. */
async function echoOf(text: string, port: number): Promise<string | undefined> {
  const socket = createSocket('udp4');
  try {
    await new Promise((resolve) => {
      socket.send(text, port, '127.0.0.1', resolve);
    });
    const [answer] = (await once(socket, 'message', { signal: AbortSignal.timeout(200) })) as [Buffer];
    return answer.toString('utf8');
  } catch (error) {
    if ((error as Error).name === 'AbortError') return undefined;
    throw error;
  } finally {
    socket.close();
  }
}

async function fetchText(url: string): Promise<string> {
  return eventually(`answer of ${url}`, async () => {
    try {
      return await (await fetch(url)).text();
    } catch {
      // the server in the container is still starting
      return undefined;
    }
  });
}

function reachable(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket
      .on('connect', () => end(true))
      .on('error', () => end(false))
      .on('timeout', () => end(false));
  });
}
