import { closeSync, existsSync, fstatSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { mountTable } from '../src/mounts.ts';
import { openNetlink } from '../src/netlink.ts';
import {
  createNetworkNamespace,
  openNetworkNamespace,
  readSysctl,
  removeNetworkNamespace,
  writeSysctls,
} from '../src/network-namespace.ts';
import { reservePort } from '../src/port-reservation.ts';
import { describeAsRoot } from './root.ts';

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const NLMSG_ERROR = 2;
const REQUEST = 1;
const ACK = 4;
const CREATE_EXCL = 0x600;
const DUMP = 0x300;

let sequence = 0;

/** One message about a link: `ifinfomsg` and attributes. */
function link(type: number, flags: number, index: number, ...attributes: Buffer[]): Buffer {
  const body = Buffer.alloc(16);
  body.writeInt32LE(index, 4);
  const payload = Buffer.concat([body, ...attributes]);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + payload.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(REQUEST | flags, 6);
  header.writeUInt32LE((sequence += 1), 8);
  return Buffer.concat([header, payload]);
}

function attribute(type: number, value: Buffer): Buffer {
  const buffer = Buffer.alloc(4 + Math.ceil(value.length / 4) * 4);
  buffer.writeUInt16LE(4 + value.length, 0);
  buffer.writeUInt16LE(type, 2);
  value.copy(buffer, 4);
  return buffer;
}

const newBridge = (name: string): Buffer =>
  link(
    RTM_NEWLINK,
    ACK | CREATE_EXCL,
    0,
    attribute(3, Buffer.from(`${name}\0`)),
    attribute(18, attribute(1, Buffer.from('bridge\0'))),
  );

/** Types and, for errors, errnos of all messages in the datagrams. */
function messages(datagrams: readonly Uint8Array[]): { type: number; error: number | undefined }[] {
  return datagrams.flatMap((datagram) => {
    const view = Buffer.from(datagram);
    const found = [];
    for (let at = 0; at < view.length; at += Math.ceil(view.readUInt32LE(at) / 4) * 4) {
      const type = view.readUInt16LE(at + 4);
      found.push({ type, error: type === NLMSG_ERROR ? Math.abs(view.readInt32LE(at + 16)) : undefined });
    }
    return found;
  });
}

describeAsRoot('a network namespace', () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tare-netns-'));
    path = join(folder, 'ns');
    await createNetworkNamespace(path);
  });
  afterEach(async () => {
    await removeNetworkNamespace(path);
    rmSync(folder, { recursive: true });
  });

  test('is another one than ours, which we stay in', () => {
    const ours = statSync('/proc/thread-self/ns/net').ino;
    const fd = openNetworkNamespace(path);
    expect(fstatSync(fd).ino).not.toBe(ours);
    closeSync(fd);
    expect(statSync('/proc/thread-self/ns/net').ino).toBe(ours);
  });

  test('is not made over something, and leaves nothing behind when it is not made', async () => {
    await expect(createNetworkNamespace(path)).rejects.toMatchObject({ code: 'EEXIST', path });
    await expect(createNetworkNamespace(join(folder, 'no/ns'))).rejects.toMatchObject({ code: 'ENOENT' });
    expect(mountTable().filter(({ target }) => target.startsWith(folder))).toHaveLength(1);
  });

  test('is gone after removal, which may be repeated', async () => {
    await removeNetworkNamespace(path);
    expect(existsSync(path)).toBe(false);
    await removeNetworkNamespace(path);
    expect(mountTable().some(({ target }) => target === path)).toBe(false);
  });

  test('is not mistaken for a file that is left where it was', () => {
    const leftover = join(folder, 'leftover');
    writeFileSync(leftover, '');
    expect(() => openNetworkNamespace(leftover)).toThrowError(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => openNetworkNamespace(join(folder, 'absent'))).toThrowError(
      expect.objectContaining({ code: 'ENOENT' }),
    );
  });

  test('has its own sysctls', async () => {
    const ours = readSysctl('/proc/thread-self/ns/net', 'net.ipv4.ip_default_ttl');
    await writeSysctls(path, { 'net.ipv4.ip_default_ttl': '33', 'net/ipv4/conf/lo/forwarding': '1' });
    expect(readSysctl(path, 'net.ipv4.ip_default_ttl')).toBe('33');
    expect(readSysctl(path, 'net.ipv4.conf.lo.forwarding')).toBe('1');
    expect(readSysctl('/proc/thread-self/ns/net', 'net.ipv4.ip_default_ttl')).toBe(ours);
  });

  test('refuses sysctls that are not there, unless that is fine, and names that are none', async () => {
    await expect(writeSysctls(path, { 'net.ipv4.nothing': '1' })).rejects.toMatchObject({
      code: 'ENOENT',
      path: '/proc/sys/net/ipv4/nothing',
    });
    await writeSysctls(
      path,
      { 'net.ipv4.nothing': '1', 'net.ipv4.ip_default_ttl': '34' },
      { ignoreMissing: true },
    );
    expect(readSysctl(path, 'net.ipv4.ip_default_ttl')).toBe('34');
    expect(() => readSysctl(path, 'net/../kernel/hostname')).toThrowError(TypeError);
  });

  test('is made and removed many at a time', async () => {
    const paths = Array.from({ length: 8 }, (_, index) => join(folder, `many-${index}`));
    await Promise.all(paths.map((one) => createNetworkNamespace(one)));
    expect(new Set(paths.map((one) => statSync(one).ino)).size).toBe(8);
    await Promise.all(paths.map((one) => removeNetworkNamespace(one)));
  });

  describe('through a netlink socket', () => {
    test('shows and changes its own links', () => {
      using socket = openNetlink({ protocol: 'route', netns: path });
      expect(socket.portId).toBeGreaterThan(0);
      expect(
        messages(socket.exchange(link(RTM_GETLINK, DUMP, 0))).filter(({ type }) => type === RTM_NEWLINK),
      ).toHaveLength(1);
      expect(messages(socket.exchange(newBridge('br-test')))).toEqual([{ type: NLMSG_ERROR, error: 0 }]);
      expect(
        messages(socket.exchange(link(RTM_GETLINK, DUMP, 0))).filter(({ type }) => type === RTM_NEWLINK),
      ).toHaveLength(2);
    });

    test('answers every message of a batch, refusals included', async () => {
      using socket = openNetlink({ protocol: 'route', netns: path });
      const batch = Buffer.concat([newBridge('one'), newBridge('one'), newBridge('two')]);
      expect(messages(await socket.request(batch)).map(({ error }) => error)).toEqual([0, 17, 0]);
    });

    test('keeps requests apart that run at the same time', async () => {
      const fd = openNetworkNamespace(path);
      using socket = openNetlink({ protocol: 'route', netns: fd });
      closeSync(fd);
      const results = await Promise.all([
        socket.request(newBridge('a')),
        socket.request(Buffer.concat([newBridge('b'), newBridge('c')])),
        socket.request(link(RTM_GETLINK, DUMP, 0)),
        socket.request(newBridge('a')),
      ]);
      expect(results.slice(0, 2).map((result) => messages(result).length)).toEqual([1, 2]);
      expect(messages(results[2]!).filter(({ type }) => type === RTM_NEWLINK)).toHaveLength(4);
      expect(messages(results[3]!)).toEqual([{ type: NLMSG_ERROR, error: 17 }]);
    });

    test('takes a batch of a thousand acknowledged messages', () => {
      using socket = openNetlink({ protocol: 'route', netns: path });
      const up = Array.from({ length: 1000 }, () => link(RTM_NEWLINK, ACK, 1));
      const answers = messages(socket.exchange(Buffer.concat(up)));
      expect(answers).toHaveLength(1000);
      expect(answers.every(({ error }) => error === 0)).toBe(true);
    });

    test('tells of changes to those who joined a group', async () => {
      using events = openNetlink({ protocol: 'route', netns: path, groups: [1] });
      using socket = openNetlink({ protocol: 'route', netns: path });
      const stream = events.events()[Symbol.asyncIterator]();
      const first = stream.next();
      socket.exchange(newBridge('seen'));
      const { value } = await first;
      expect(messages([value as Uint8Array])[0]!.type).toBe(RTM_NEWLINK);
      expect(Buffer.from(value as Uint8Array).includes('seen\0')).toBe(true);
      await stream.return?.();
    });

    test('ends the stream of events when the socket is closed or the caller gives up', async () => {
      const events = openNetlink({ protocol: 'route', netns: path, groups: [1] });
      const reason = new Error('enough');
      const controller = new AbortController();
      const aborted = events.events({ signal: controller.signal })[Symbol.asyncIterator]().next();
      controller.abort(reason);
      await expect(aborted).rejects.toBe(reason);
      const closed = events.events()[Symbol.asyncIterator]().next();
      events.close();
      events.close();
      expect(await closed).toEqual({ done: true, value: undefined });
      expect(() => events.exchange(link(RTM_GETLINK, DUMP, 0))).toThrowError(
        expect.objectContaining({ code: 'EBADF' }),
      );
    });

    test('completes a request that was on its way when the socket was closed', async () => {
      const socket = openNetlink({ protocol: 'route', netns: path });
      socket.exchange(newBridge('doomed'));
      const request = socket.request(link(RTM_DELLINK, ACK, 2));
      // the first request starts in the next microtask
      await Promise.resolve();
      socket.close();
      expect(messages(await request)).toEqual([{ type: NLMSG_ERROR, error: 0 }]);
    });

    test('speaks to nf_tables', () => {
      using socket = openNetlink({ protocol: 'netfilter', netns: path });
      const getGeneration = Buffer.alloc(20);
      getGeneration.writeUInt32LE(20, 0);
      getGeneration.writeUInt16LE((10 << 8) | 16, 4);
      getGeneration.writeUInt16LE(REQUEST, 6);
      expect(messages(socket.exchange(getGeneration))[0]!.type).toBe((10 << 8) | 15);
    });
  });
});

describeAsRoot('a reserved port', () => {
  test.each(['127.0.0.1', '::1'])('on %s is nobody else’s until it is given back', async (address) => {
    using reservation = reservePort({ protocol: 'tcp', address, port: 0 });
    expect(reservation.port).toBeGreaterThan(0);
    expect(() => reservePort({ protocol: 'tcp', address, port: reservation.port })).toThrowError(
      expect.objectContaining({ code: 'EADDRINUSE', path: `${address}:${reservation.port}` }),
    );
    // the other protocol has ports of its own
    reservePort({ protocol: 'udp', address, port: reservation.port }).close();
    reservation.close();
    reservation.close();
    const server = createServer().listen(reservation.port, address);
    await once(server, 'listening');
    expect((server.address() as AddressInfo).port).toBe(reservation.port);
    server.close();
    await once(server, 'close');
  });

  test('takes no datagrams', async () => {
    using reservation = reservePort({ protocol: 'udp', address: '127.0.0.1', port: 0 });
    const socket = createSocket('udp4');
    await new Promise<void>((resolve, reject) => {
      socket.send('x', reservation.port, '127.0.0.1', (error) => (error ? reject(error) : resolve()));
    });
    socket.close();
  });

  test('needs an address of this machine', () => {
    expect(() => reservePort({ protocol: 'tcp', address: '192.0.2.1', port: 0 })).toThrowError(
      expect.objectContaining({ code: 'EADDRNOTAVAIL' }),
    );
    expect(() => reservePort({ protocol: 'tcp', address: 'localhost', port: 0 })).toThrowError(TypeError);
  });
});
