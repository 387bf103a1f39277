import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';

import { describe, expect, test } from 'vitest';

import { closeFds, memfdCreate, readable } from '../src/process.ts';
import { connectUnix, peerCredentials, receiveMessage, sendMessage, socketpair } from '../src/unix-socket.ts';

const reason = process.platform === 'linux' ? undefined : 'needs Linux';
if (reason) console.warn(`skipped: unix sockets (${reason})`);

describe.skipIf(reason)('unix sockets', () => {
  test('keep message boundaries', () => {
    const [a, b] = socketpair('seqpacket');
    expect(receiveMessage(b, 10)).toBeUndefined();
    expect(sendMessage(a, Buffer.from('one'))).toBe(3);
    sendMessage(a, Buffer.from('two and more'));
    expect(receiveMessage(b, 10)).toEqual({ data: Buffer.from('one'), fds: [], truncated: false });
    expect(receiveMessage(b, 3)).toEqual({ data: Buffer.from('two'), fds: [], truncated: true });
    closeSync(a);
    expect(receiveMessage(b, 10)!.data).toHaveLength(0);
    expect(() => sendMessage(b, Buffer.from('x'))).toThrowError(expect.objectContaining({ code: 'EPIPE' }));
    closeSync(b);
  });

  test('carry descriptors, close-on-exec at the other end', () => {
    const [a, b] = socketpair('stream');
    const memory = memfdCreate('carried');
    writeSync(memory, 'content');
    sendMessage(a, Buffer.from('x'), [memory, memory]);
    const { ino } = fstatSync(memory);
    closeSync(memory);
    const { fds, data } = receiveMessage(b, 10)!;
    expect(data).toEqual(Buffer.from('x'));
    expect(fds.map((fd) => fstatSync(fd).ino)).toEqual([ino, ino]);
    expect(readFileSync(`/proc/self/fdinfo/${fds[0]}`, 'utf8')).toMatch(/^flags:\s*0?2\d{6}$/m);
    closeFds([a, b, ...fds]);
  });

  test('say when the other side does not read', () => {
    const [a, b] = socketpair('stream');
    const chunk = Buffer.alloc(65_536);
    let taken = 0;
    for (let sent: number | undefined = 0; sent !== undefined; taken += sent ?? 0)
      sent = sendMessage(a, chunk);
    expect(taken).toBeGreaterThan(0);
    closeFds([a, b]);
  });

  test('connect by path, and know who is at the other end', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tare-socket-'));
    const path = join(folder, 'socket');
    expect(() => connectUnix(path, 'stream')).toThrowError(expect.objectContaining({ code: 'ENOENT', path }));
    const server = createServer((socket) => socket.end('hello')).listen(path);
    await once(server, 'listening');
    expect(() => connectUnix(path, 'seqpacket')).toThrowError(
      expect.objectContaining({ code: 'EPROTOTYPE' }),
    );
    const fd = connectUnix(path, 'stream');
    expect(peerCredentials(fd)).toEqual({ pid: process.pid, uid: process.getuid!(), gid: process.getgid!() });
    await readable(fd);
    expect(Buffer.from(receiveMessage(fd, 100)!.data).toString()).toBe('hello');
    closeSync(fd);
    expect(() => connectUnix(`/${'x'.repeat(200)}`, 'stream')).toThrowError(
      expect.objectContaining({ code: 'ENAMETOOLONG' }),
    );
    server.close();
    rmSync(folder, { recursive: true });
  });

  test('report a descriptor that is not a socket', () => {
    const fd = openSync('/dev/null', 'r');
    expect(() => receiveMessage(fd, 1)).toThrowError(expect.objectContaining({ code: 'ENOTSOCK' }));
    closeSync(fd);
  });
});
