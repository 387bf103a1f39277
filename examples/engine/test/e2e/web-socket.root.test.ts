/** Attaching by WebSocket: what browsers have in place of a hijacked connection. */
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`attach/ws${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  /** Everything that arrives until the engine closes. */
  function open(path: string): { socket: WebSocket; received: Promise<{ text: string; code: number }> } {
    const socket = new WebSocket(`ws+unix:${lab.socketPath}:${path}`);
    const parts: Buffer[] = [];
    socket.on('message', (data: Buffer) => parts.push(data));
    const received = once(socket, 'close').then(([code]) => ({
      text: Buffer.concat(parts).toString(),
      code: code as number,
    }));
    return { socket, received };
  }

  test('input goes in, both outputs come back as they are, and the end closes', async () => {
    await lab.ok([
      'create',
      '-i',
      '--name',
      'reader',
      lab.busybox,
      'sh',
      '-c',
      'read a; echo got $a; echo err >&2',
    ]);
    const { socket, received } = open('/containers/reader/attach/ws?stream=1&stdin=1&stdout=1&stderr=1');
    await once(socket, 'open');
    await lab.ok(['start', 'reader']);
    socket.send('one\n');
    const { text, code } = await received;
    expect(text.split('\n').sort()).toEqual(['', 'err', 'got one']);
    // a regular end, with no status said; a connection that broke would be 1006
    expect(code).toBe(1005);
    await lab.ok(['rm', 'reader']);
  });

  test('a terminal is interactive, the log is replayed, and the detach keys detach', async () => {
    await lab.ok(['run', '-dit', '--name', 'tty', lab.busybox, 'sh', '-c', 'echo before; cat']);
    const { socket, received } = open('/containers/tty/attach/ws?logs=1&stream=1&stdin=1&stdout=1');
    await once(socket, 'message');
    socket.send('typed\r');
    await once(socket, 'message');
    socket.send(Buffer.from([16, 17]));
    const { text } = await received;
    expect(text).toMatch(/^before\r\n/);
    expect(text).toContain('typed');
    expect(await lab.ok(['inspect', '-f', '{{.State.Running}}', 'tty'])).toBe('true');
    await lab.ok(['rm', '-f', 'tty']);
  });

  test('one that only listens leaves the container running', async () => {
    await lab.ok([
      'run',
      '-d',
      '--name',
      'told',
      lab.busybox,
      'sh',
      '-c',
      'while :; do echo tick; sleep 0.05; done',
    ]);
    const { socket, received } = open('/containers/told/attach/ws?stream=1&stdout=1');
    await once(socket, 'message');
    socket.close();
    expect((await received).text).toContain('tick\n');
    expect(await lab.ok(['inspect', '-f', '{{.State.Running}}', 'told'])).toBe('true');
    await lab.ok(['rm', '-f', 'told']);
  });

  test('what is no handshake, and a container that is not there, are ordinary errors', async () => {
    await lab.ok(['create', '--name', 'still', lab.busybox]);
    const plain = await lab.api('GET', '/containers/still/attach/ws?stream=1');
    expect(plain.status).toBe(400);
    expect(plain.json()).toEqual({ message: expect.stringContaining('no WebSocket handshake') });
    const { socket } = open('/containers/nope/attach/ws?stream=1');
    const [, response] = await once(socket, 'unexpected-response');
    expect(response).toMatchObject({ statusCode: 404 });
    await lab.ok(['rm', 'still']);
  });
});
