/** Network devices of the host that go into a container. Everything happens in the test's own network namespace. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { COMPONENTS, componentPath } from '../../../test/lab/debian.ts';
import { openNetlink } from '../src/netlink.ts';
import type { Spec } from '../src/spec/index.ts';
import { runToEnd, shellSpec } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

const busybox = componentPath(COMPONENTS.busybox);

function ip(...args: string[]): string {
  return execFileSync(busybox!, ['ip', ...args], { encoding: 'utf8' });
}

/** `ip link add NAME type veth peer name PEER`, which not every busybox can do. */
function addPair(name: string, peer: string): void {
  const attribute = (type: number, ...values: Uint8Array[]): Buffer => {
    const value = Buffer.concat(values);
    const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
    bytes.writeUInt16LE(4 + value.length, 0);
    bytes.writeUInt16LE(type, 2);
    bytes.set(value, 4);
    return bytes;
  };
  const named = (text: string): Buffer => attribute(3, Buffer.from(`${text}\0`));
  const other = attribute(2, attribute(1, Buffer.alloc(16), named(peer)));
  const info = attribute(18, attribute(1, Buffer.from('veth')), other);
  const payload = Buffer.concat([Buffer.alloc(16), named(name), info]);
  const message = Buffer.concat([Buffer.alloc(16), payload]);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(16, 4);
  message.writeUInt16LE(0x605, 6);
  using socket = openNetlink({ protocol: 'route' });
  const [answer] = socket.exchange(message);
  expect(Buffer.from(answer!).readInt32LE(16)).toBe(0);
}

describeContainers('a container with network devices of the host', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
    addPair('tarert0', 'tarert1');
    ip('addr', 'add', '10.99.0.5/24', 'dev', 'tarert0');
    writeFileSync('/proc/sys/net/ipv6/conf/tarert0/disable_ipv6', '0');
    ip('addr', 'add', 'fd99::5/64', 'dev', 'tarert0');
    ip('link', 'set', 'tarert0', 'up');
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => {
    // unless the namespace of a container has taken them along
    if (ip('link').includes('tarert0')) ip('link', 'del', 'tarert0');
    lab.dispose();
  });

  const spec = (devices: Record<string, { name?: string }>, change: (spec: Spec) => void = () => {}): Spec =>
    shellSpec(lab.rootfs, 'ip addr; cat /proc/sys/net/ipv4/conf/*/forwarding | wc -l', (made) => {
      made.linux!.netDevices = devices;
      change(made);
    });

  it('cannot keep those that something fails with: they are back, as they were', async () => {
    const failing = spec({ tarert0: { name: 'eth0' }, tarert1: {} }, (made) => {
      made.linux!.sysctl = { 'net.ipv4.conf.absent.forwarding': '1' };
    });
    await expect(lab.runtime.create('c', { spec: failing })).rejects.toMatchObject({ field: 'linux.sysctl' });
    const clash = spec({ tarert0: { name: 'eth0' }, tarert1: { name: 'lo' } });
    await expect(lab.runtime.create('c', { spec: clash })).rejects.toMatchObject({
      code: 'SETUP_FAILED',
      field: 'linux.netDevices["tarert1"]',
      errnoCode: 'EEXIST',
    });
    await expect(lab.runtime.create('c', { spec: spec({ tarert0: {}, absent0: {} }) })).rejects.toMatchObject(
      {
        field: 'linux.netDevices["absent0"]',
        errnoCode: 'ENODEV',
      },
    );
    const back = ip('addr', 'show', 'tarert0');
    expect(back).toContain('inet 10.99.0.5/24');
    expect(back).toContain('inet6 fd99::5/64');
    expect(back).toMatch(/<[^>]*\bUP\b/);
    expect(ip('addr', 'show', 'tarert1')).not.toMatch(/<[^>]*\bUP\b/);
  });

  it('refuses what cannot be meant, before it makes anything', async () => {
    const cases: [field: string, spec: Spec][] = [
      ['linux.netDevices["a/b"]', spec({ 'a/b': {} })],
      ['linux.netDevices["tarert0"].name', spec({ tarert0: { name: 'longer-than-fifteen' } })],
      ['linux.netDevices["tarert1"].name', spec({ tarert0: { name: 'e' }, tarert1: { name: 'e' } })],
      [
        'linux.netDevices',
        spec({ tarert0: {} }, (made) => {
          made.linux!.namespaces = made.linux!.namespaces!.filter(({ type }) => type !== 'network');
        }),
      ],
    ];
    for (const [field, wrong] of cases) {
      await expect(lab.runtime.create('c', { spec: wrong }), field).rejects.toMatchObject({
        code: 'INVALID_SPEC',
        field,
      });
    }
  });

  it('has them under the names asked for, up, with their addresses and sysctls of its own', async () => {
    const devices = spec({ tarert0: { name: 'eth0' }, tarert1: {} }, (made) => {
      made.linux!.sysctl = { 'net.ipv4.conf.eth0.forwarding': '1' };
      made.process!.args = ['sh', '-c', 'ip addr; cat /proc/sys/net/ipv4/conf/eth0/forwarding'];
    });
    const { stdout, stderr, exitCode } = await runToEnd(lab.runtime, 'c', { spec: devices });
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 });
    expect(stdout).toMatch(/eth0: <[^>]*\bUP\b/);
    expect(stdout).toMatch(/tarert1: <[^>]*\bUP\b/);
    expect(stdout).toMatch(/inet 10\.99\.0\.5\/24 .*scope global eth0/);
    expect(stdout).toContain('inet6 fd99::5/64');
    expect(stdout.trim().endsWith('\n1')).toBe(true);
    expect(() => ip('link', 'show', 'tarert0')).toThrow();
  });
});
