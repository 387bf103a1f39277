/** Host ports: what may be asked for, and holding them on this machine's real stack. */

import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';

import { nativeKernel, type NetworkKernel, type PortMapping } from '../src/index.ts';
import { PortAllocator } from '../src/port-allocator.ts';
import { checkPortMapping } from '../src/ports.ts';

const tcp = (more: Partial<PortMapping> = {}): PortMapping => ({
  protocol: 'tcp',
  containerPort: 80,
  ...more,
});

describe('a port mapping', () => {
  it('is for every address and any port unless it says otherwise', () => {
    expect(checkPortMapping(tcp())).toEqual({
      protocol: 'tcp',
      containerPort: 80,
      hostIp: undefined,
      hostPorts: undefined,
    });
    expect(checkPortMapping(tcp({ hostIp: '', hostPort: 0 })).hostPorts).toBeUndefined();
    expect(checkPortMapping(tcp({ hostPort: 8080 })).hostPorts).toEqual({ from: 8080, to: 8080 });
  });

  it('is refused when it cannot be published', () => {
    const wrong: PortMapping[] = [
      tcp({ containerPort: 0 }),
      tcp({ containerPort: 65_536 }),
      tcp({ containerPort: 1.5 }),
      tcp({ hostPort: -1 }),
      tcp({ hostPort: { from: 9000, to: 8000 } }),
      tcp({ hostIp: 'localhost' }),
      tcp({ hostIp: 'fe80::1%eth0' }),
      { protocol: 'toString' as 'tcp', containerPort: 80 },
    ];
    for (const mapping of wrong) {
      expect(() => checkPortMapping(mapping), JSON.stringify(mapping)).toThrow(
        expect.objectContaining({ code: 'INVALID_CONFIG' }),
      );
    }
  });
});

describe.skipIf(process.platform !== 'linux')('held host ports', () => {
  const allocator = new PortAllocator(nativeKernel());
  const hold = (mappings: readonly PortMapping[], by = allocator) =>
    by.hold(
      mappings.map((mapping) => {
        const { hostIp = '0.0.0.0', ...rest } = checkPortMapping(mapping);
        return { ...rest, hosts: [{ hostIp }] };
      }),
    );
  const loopback = { hostIp: '127.0.0.1' };

  it('are refused to every other program until they are released', async () => {
    const held = hold([tcp(loopback)]);
    const { hostPort } = held.ports[0]!;
    const refused = createServer().listen(hostPort, '127.0.0.1');
    const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('EADDRINUSE');
    held.release();
    held.release();
    const server = createServer().listen(hostPort, '127.0.0.1');
    await once(server, 'listening');
    server.close();
  });

  it('are all given back when one of them is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const free = hold([tcp(loopback)]);
    const { hostPort } = free.ports[0]!;
    free.release();
    const mappings = [tcp({ ...loopback, hostPort }), tcp({ ...loopback, hostPort: port })];
    expect(() => hold(mappings)).toThrow(
      expect.objectContaining({ code: 'PORT_IN_USE', ip: '127.0.0.1', port, protocol: 'tcp' }),
    );
    hold([tcp({ ...loopback, hostPort })]).release();
    server.close();
  });

  it('of a range are the first free one', () => {
    const first = hold([tcp(loopback)]);
    const from = Math.min(first.ports[0]!.hostPort, 65_500);
    const range = { from, to: from + 30 };
    const second = hold([tcp({ ...loopback, hostPort: range })]);
    expect(second.ports[0]!.hostPort).toBeGreaterThan(from);
    expect(second.ports[0]!.hostPort).toBeLessThanOrEqual(range.to);
    first.release();
    second.release();
  });

  it('may have the same number for TCP and UDP, but not twice for one', () => {
    const first = hold([tcp(loopback)]);
    const { hostPort } = first.ports[0]!;
    hold([{ protocol: 'udp', containerPort: 80, hostIp: '127.0.0.1', hostPort }]).release();
    expect(() => hold([tcp({ hostPort })])).toThrow(expect.objectContaining({ code: 'PORT_IN_USE' }));
    first.release();
  });

  it('are the same number in both families, or another one where it is not free', async () => {
    const request = { protocol: 'tcp' as const, containerPort: 80 };
    const hosts = [{ hostIp: '127.0.0.1' }, { hostIp: '::1' }];
    const free = allocator.hold([{ ...request, hostPorts: undefined, hosts }]);
    const [v4, v6] = free.ports;
    expect(v4!.hostPort).toBe(v6!.hostPort);
    const from = v4!.hostPort;
    free.release([v4!]);
    // taken in one family: not to be had in both
    expect(() => allocator.hold([{ ...request, hostPorts: { from, to: from }, hosts }])).toThrow(
      expect.objectContaining({ code: 'PORT_IN_USE', ip: '::1', port: from }),
    );
    allocator.hold([{ ...request, hostPorts: { from, to: from }, hosts: [hosts[0]!] }]).release();
    free.release();
  });

  it('of SCTP are kept apart without sockets for them', () => {
    const sctp = (hostIp: string, hostPort?: number) =>
      hold([{ protocol: 'sctp', containerPort: 90, hostIp, ...(hostPort ? { hostPort } : {}) }]);
    const first = sctp('127.0.0.1');
    const { hostPort } = first.ports[0]!;
    const inUse = expect.objectContaining({ code: 'PORT_IN_USE' });
    expect(() => sctp('127.0.0.1', hostPort)).toThrow(inUse);
    expect(() => sctp('0.0.0.0', hostPort)).toThrow(inUse);
    sctp('::1', hostPort).release();
    first.release();
    const any = sctp('0.0.0.0', hostPort);
    expect(() => sctp('127.0.0.1', hostPort)).toThrow(inUse);
    any.release();
  });

  it('are only of addresses that the host has', () => {
    expect(() => hold([tcp({ hostIp: '203.0.113.1' })])).toThrow(
      expect.objectContaining({
        code: 'INVALID_CONFIG',
        message: '203.0.113.1 is not an address of this host',
      }),
    );
  });

  it('pass on what the system says beside that', () => {
    const refusing: Pick<NetworkKernel, 'reservePort' | 'openSocket'> = {
      ...nativeKernel(),
      reservePort() {
        throw Object.assign(new Error('not for you'), { code: 'EACCES' });
      },
    };
    expect(() => hold([tcp({ hostPort: 80 })], new PortAllocator(refusing))).toThrow('not for you');
  });
});
