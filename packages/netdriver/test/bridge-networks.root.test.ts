/** Networks of the bridge driver and what stands on the host beside them. */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openNetlink } from '@tare/runtime-native/netlink';
import { expect, it } from 'vitest';

import { parseCidr } from '../src/address-range.ts';
import { createBridgeDriver } from '../src/index.ts';
import {
  AF,
  createBridge,
  decodeAddress,
  decodeLink,
  deleteLink,
  dumpAddresses,
  getLink,
  NetlinkConnection,
} from '../src/netlink/index.ts';
import type { Orders } from './lab/doomed.ts';
import { addressOf, describeInNamespace, Lab, uniqueName, uniqueSubnet } from './lab/namespaces.ts';

describeInNamespace('networks of the bridge driver', () => {
  it('do not take a subnet that an interface of the host is on', async () => {
    await using lab = await Lab.open();
    const lan = await lab.lan({ routed: false });
    const subnet = lan.hostAddress.replace(/1$/, '0/24');
    const driver = createBridgeDriver({ name: uniqueName(), pools: [{ base: subnet, prefixLength: 25 }] });
    lab.defer(() => driver.destroy());
    const config = { id: 'n', bridgeName: uniqueName() };
    await expect(driver.createNetwork({ ...config, subnets: [{ subnet }] })).rejects.toMatchObject({
      code: 'ADDRESS_OVERLAP',
    });
    await expect(driver.createNetwork(config)).rejects.toMatchObject({ code: 'POOL_EXHAUSTED' });
    const reserved = uniqueSubnet();
    const careful = createBridgeDriver({
      name: uniqueName(),
      pools: [{ base: reserved, prefixLength: 24 }],
      reservedSubnets: [reserved],
    });
    await expect(careful.createNetwork(config)).rejects.toMatchObject({ code: 'POOL_EXHAUSTED' });
    await careful.destroy();
  });

  it('use a bridge that somebody else made, and leave it standing', async () => {
    await using lab = await Lab.open();
    using connection = new NetlinkConnection(openNetlink({ protocol: 'route' }));
    const bridgeName = uniqueName();
    await connection.send(
      createBridge({ name: bridgeName, macAddress: '02:00:00:00:00:07', mtu: 1500, group: 0 }),
    );
    lab.defer(async () => {
      using other = new NetlinkConnection(openNetlink({ protocol: 'route' }));
      await other.send(deleteLink({ name: bridgeName }));
    });
    const driver = createBridgeDriver({ name: uniqueName() });
    lab.defer(() => driver.destroy());
    const subnets = [{ subnet: uniqueSubnet() }];
    await driver.createNetwork({ id: 'n', bridgeName, subnets });
    const sandboxes = [await lab.sandbox(), await lab.sandbox()];
    const web = await driver.attach('n', { id: 'web', sandbox: sandboxes[0]! });
    await driver.attach('n', { id: 'client', sandbox: sandboxes[1]! });
    await (await lab.agent(sandboxes[0]!)).serve('web', 80);
    expect(await (await lab.agent(sandboxes[1]!)).tcp(addressOf(web), 80)).toMatch(/^web /);
    await driver.detach('n', 'web');
    await driver.detach('n', 'client');
    await driver.removeNetwork('n');
    await driver.reconcile({ networks: [], endpoints: [] });
    await driver.destroy();
    const [message] = await connection.ask(getLink({ name: bridgeName }));
    const link = decodeLink(message!)!;
    expect([link.alias, link.macAddress]).toEqual([undefined, '02:00:00:00:00:07']);
    const addresses = (await connection.ask(dumpAddresses(AF.INET))).map((address) => decodeAddress(address));
    expect(addresses.filter((address) => address?.linkIndex === link.index)).toEqual([]);
  });

  it('do not take an interface that is no bridge, or carries the network of another driver', async () => {
    await using lab = await Lab.open();
    const { name } = await lab.lan({ routed: false });
    const driver = createBridgeDriver({ name: uniqueName() });
    lab.defer(() => driver.destroy());
    const config = { id: 'n', subnets: [{ subnet: uniqueSubnet() }] };
    await expect(driver.createNetwork({ ...config, bridgeName: name })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    const other = createBridgeDriver({ name: uniqueName() });
    lab.defer(() => other.destroy());
    const bridgeName = uniqueName();
    await other.createNetwork({ ...config, bridgeName });
    await expect(driver.createNetwork({ ...config, bridgeName })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
  });

  it('take over the bridge that stands, with the subnet that it has', async () => {
    await using lab = await Lab.open();
    const name = uniqueName();
    const pools = [{ base: uniqueSubnet(), prefixLength: 26 }];
    const config = { id: 'n', bridgeName: uniqueName(), mtu: 1400 };
    const first = createBridgeDriver({ name, pools });
    const made = await first.createNetwork(config);
    await first[Symbol.asyncDispose]();
    const second = createBridgeDriver({ name, pools });
    lab.defer(() => second.destroy());
    expect(await second.createNetwork(config)).toEqual(made);
    // but not for another network, nor with another address
    await second[Symbol.asyncDispose]();
    const third = createBridgeDriver({ name, pools });
    lab.defer(() => third.destroy());
    await expect(third.createNetwork({ ...config, id: 'm' })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    await expect(
      third.createNetwork({ ...config, subnets: [{ subnet: uniqueSubnet() }] }),
    ).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
  });

  it('give bridge, link and interface the MTU and the MAC address', async () => {
    await using lab = await Lab.open();
    const driver = createBridgeDriver({ name: uniqueName() });
    lab.defer(() => driver.destroy());
    const config = { id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }], mtu: 1400 };
    await driver.createNetwork(config);
    const sandbox = await lab.sandbox();
    const endpoint = await driver.attach('n', { id: 'e', sandbox, macAddress: '02:42:AC:11:00:02' });
    using connection = new NetlinkConnection(openNetlink({ protocol: 'route' }));
    using inside = new NetlinkConnection(openNetlink({ protocol: 'route', netns: sandbox }));
    for (const [where, name] of [
      [connection, config.bridgeName],
      [connection, endpoint.hostInterfaceName],
      [inside, 'eth0'],
    ] as const) {
      const link = decodeLink((await where.ask(getLink({ name })))[0]!)!;
      expect([link.mtu, link.operState], name).toEqual([1400, 6]);
      if (where === inside) expect(link.macAddress).toBe('02:42:ac:11:00:02');
    }
    expect(endpoint.macAddress).toBe('02:42:ac:11:00:02');
  });

  it('hand out dynamic addresses of their range alone', async () => {
    await using lab = await Lab.open();
    const driver = createBridgeDriver({ name: uniqueName() });
    lab.defer(() => driver.destroy());
    const subnet = uniqueSubnet();
    const ipRange = subnet.replace('0/24', '240/28');
    await driver.createNetwork({ id: 'n', bridgeName: uniqueName(), subnets: [{ subnet, ipRange }] });
    const { ipv4Address } = await driver.attach('n', { id: 'e', sandbox: await lab.sandbox() });
    expect(ipv4Address).toBe(subnet.replace('0/24', '240/24'));
    expect(parseCidr(ipv4Address!).range).toEqual(parseCidr(subnet).range);
  });

  it('turn forwarding of the host on when asked to, and leave it alone when not', async () => {
    for (const [ipForward, after] of [
      ['leave', '0'],
      ['enable', '1'],
    ] as const) {
      const orders: Orders = {
        driverName: uniqueName(),
        network: { id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] },
        endpoints: [],
        ipForward,
      };
      const script = join(import.meta.dirname, 'lab', 'doomed.ts');
      // in a namespace of its own: this setting is everybody's
      const args = [process.execPath, '--conditions=@tare/source', script, JSON.stringify(orders)];
      const off = 'echo 0 > /proc/sys/net/ipv4/ip_forward; exec "$@"';
      const child = spawn('unshare', ['--net', 'sh', '-c', off, 'sh', ...args], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      const read = ['-t', `${child.pid}`, '-n', 'cat', '/proc/sys/net/ipv4/ip_forward'];
      const { stdout } = await promisify(execFile)('nsenter', read);
      child.kill('SIGKILL');
      await once(child, 'exit');
      expect(stdout.trim(), ipForward).toBe(after);
    }
  });
});
