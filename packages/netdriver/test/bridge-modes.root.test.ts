/** How networks meet the world outside: gateway modes, source addresses, trusted interfaces, ways between the families. */

import { openNetlink } from '@tare/runtime-native/netlink';
import { expect, it } from 'vitest';

import { addAddress, addressBytes, decodeLink, getLink, NetlinkConnection } from '../src/netlink/index.ts';
import {
  addressOf,
  describeInNamespace,
  gatewayOf,
  host,
  Lab,
  uniqueName,
  uniqueSubnet,
  uniqueSubnet6,
} from './lab/namespaces.ts';
import { canSeeFrames, sctpInit, Wire } from './lab/frames.ts';
import { Sctp } from './lab/sctp.ts';
import { SERVED, UNPUBLISHED, world } from './lab/world.ts';

const noSctp = await Sctp.missing();

describeInNamespace('a network in gateway mode', () => {
  it('routed is reached at its own addresses, by published ports alone, and keeps them on the way out', async () => {
    await using lab = await Lab.open();
    const modes = { gatewayMode4: 'routed', gatewayMode6: 'routed' } as const;
    const { endpoint, agent, neighbour, lan } = await world(lab, () => modes);
    for (const family of [4, 6] as const) {
      const own = addressOf(endpoint, family);
      const theirs = family === 4 ? lan.address : lan.address6;
      expect(endpoint.ports).toContainEqual({
        protocol: 'tcp',
        containerPort: SERVED,
        hostIp: own,
        hostPort: SERVED,
      });
      expect(await neighbour.tcp(own, SERVED)).toBe(`web ${theirs}`);
      await neighbour.noTcp(own, UNPUBLISHED);
      expect(await agent.tcp(theirs, SERVED)).toBe(`lan ${own}`);
    }
  });

  it('nat-unprotected is reached at every port by who has a route, but not from other networks', async () => {
    await using lab = await Lab.open();
    const modes = { gatewayMode4: 'nat-unprotected', gatewayMode6: 'nat-unprotected' } as const;
    const { driver, endpoint, agent, neighbour, lan } = await world(lab, () => modes);
    await driver.createNetwork({
      id: 'm',
      bridgeName: uniqueName(),
      ipv6: true,
      subnets: [{ subnet: uniqueSubnet() }, { subnet: uniqueSubnet6() }],
    });
    const sandbox = await lab.sandbox();
    await driver.attach('m', { id: 'outsider', sandbox });
    const outsider = await lab.agent(sandbox);
    for (const family of [4, 6] as const) {
      const own = addressOf(endpoint, family);
      const [theirs, ours] = family === 4 ? [lan.address, lan.hostAddress] : [lan.address6, lan.hostAddress6];
      expect(await neighbour.tcp(own, UNPUBLISHED)).toBe(`hidden ${theirs}`);
      expect(await agent.tcp(theirs, SERVED)).toBe(`lan ${ours}`);
      await outsider.noTcp(own, UNPUBLISHED);
    }
  });

  it('isolated has no way to the host either', async () => {
    await using lab = await Lab.open();
    const { endpoint, network, agent, attach } = await world(lab, () => ({
      internal: true,
      gatewayMode4: 'isolated',
      gatewayMode6: 'isolated',
    }));
    expect(network.subnets.map(({ gateway }) => gateway)).toEqual([undefined, undefined]);
    const friend = await attach('friend', []);
    for (const family of [4, 6] as const) {
      expect(await friend.agent.tcp(addressOf(endpoint, family), SERVED)).toMatch(/^web /);
      await host.noTcp(addressOf(endpoint, family), SERVED);
    }
    // and the internal network of the default mode has one, by the gateway's address
    expect(await agent.tcp(addressOf(friend.endpoint), SERVED)).toMatch(/^friend /);
  });

  it('nat is open to a trusted interface, and to no other', async () => {
    await using lab = await Lab.open();
    const { endpoint, neighbour, stranger } = await world(lab, (trusted) => ({
      trustedInterfaces: [trusted],
    }));
    for (const family of [4, 6] as const) {
      expect(await neighbour.tcp(addressOf(endpoint, family), UNPUBLISHED)).toMatch(/^hidden /);
      await stranger.noTcp(addressOf(endpoint, family), UNPUBLISHED);
    }
  });

  it('nat may have a source address of its own', async () => {
    await using lab = await Lab.open();
    const source = '203.0.113.77';
    const source6 = '2001:db8:77::77';
    const { agent, lan } = await world(lab, () => ({ sourceAddress4: source, sourceAddress6: source6 }));
    using connection = new NetlinkConnection(openNetlink({ protocol: 'route' }));
    const [message] = await connection.ask(getLink({ name: lan.name }));
    const linkIndex = decodeLink(message!)!.index;
    await connection.send([
      addAddress({ linkIndex, address: source, prefixLength: 32 }),
      addAddress({ linkIndex, address: source6, prefixLength: 128 }),
    ]);
    expect(await agent.tcp(lan.address, SERVED)).toBe(`lan ${source}`);
    expect(await agent.tcp(lan.address6, SERVED)).toBe(`lan ${source6}`);
  });
});

describeInNamespace('the host around bridge networks', () => {
  it('reaches a container of one family by its addresses of the other, and never passes for its loopback (CVE-2021-20199)', async () => {
    await using lab = await Lab.open();
    const { endpoint, network } = await world(lab, () => ({
      ipv6: false,
      subnets: [{ subnet: uniqueSubnet() }],
    }));
    const port = endpoint.ports.find(({ hostIp }) => hostIp === '::')!.hostPort;
    expect(await host.tcp('::1', port)).toBe(`web ${gatewayOf(network)}`);
    await using second = await Lab.open();
    const six = await world(second, () => ({ ipv4: false, subnets: [{ subnet: uniqueSubnet6() }] }));
    const port6 = six.endpoint.ports.find(({ hostIp }) => hostIp === '0.0.0.0')!.hostPort;
    expect(await host.tcp('127.0.0.1', port6)).toBe(`web ${gatewayOf(six.network, 6)}`);
    await six.driver.detach('n', 'web');
    await host.noTcp('127.0.0.1', port6);
  });

  it('forwards datagrams between the families, too, and lets go when told', async () => {
    await using lab = await Lab.open();
    const { driver } = await world(lab, () => ({ ipv6: false, subnets: [{ subnet: uniqueSubnet() }] }));
    const [published] = await driver.publish('n', 'web', [
      { protocol: 'udp', containerPort: SERVED, hostIp: '::1' },
    ]);
    expect(await host.udp('::1', published!.hostPort)).toMatch(/^web /);
    await driver.unpublish('n', 'web', [published!]);
    await host.noUdp('::1', published!.hostPort);
  });

  it.skipIf(!canSeeFrames())('leads SCTP to a published port, and nothing to another', async () => {
    await using lab = await Lab.open();
    const { driver, lan } = await world(lab, () => ({ ipv6: false, subnets: [{ subnet: uniqueSubnet() }] }));
    const sandbox = await lab.sandbox();
    const ports = [{ protocol: 'sctp' as const, containerPort: 3868, hostIp: '0.0.0.0', hostPort: 13_868 }];
    const endpoint = await driver.attach('n', { id: 'signals', sandbox, ports });
    await using wire = await Wire.open(sandbox);
    await using neighbour = await Wire.open(lan.path, 'lan0');
    using connection = new NetlinkConnection(openNetlink({ protocol: 'route' }));
    const [message] = await connection.ask(getLink({ name: lan.name }));
    const to = decodeLink(message!)!.macAddress!;
    for (const [port, arrives] of [
      [13_869, false],
      [13_868, true],
    ] as const) {
      const ports = { from: 4000, to: port };
      await neighbour.send(sctpInit('02:00:00:00:00:02', to, lan.address, lan.hostAddress, ports));
      // as it comes to the container: from the neighbour itself, to its own address and port
      const addresses = [...addressBytes(lan.address), ...addressBytes(addressOf(endpoint))];
      const translated = Uint8Array.from([...addresses, 4000 >> 8, 4000 & 255, 3868 >> 8, 3868 & 255]);
      expect(wire.heard(translated), `${port}`).toBe(arrives);
    }
  });

  it.skipIf(noSctp)(
    `makes SCTP associations by a published port${noSctp ? ` (skipped: ${noSctp})` : ''}`,
    async () => {
      await using lab = await Lab.open();
      await using sctp = await Sctp.open();
      const { driver, lan } = await world(lab, () => ({
        ipv6: false,
        subnets: [{ subnet: uniqueSubnet() }],
      }));
      const sandbox = await lab.sandbox();
      const ports = [{ protocol: 'sctp' as const, containerPort: 3868, hostIp: '0.0.0.0', hostPort: 13_868 }];
      const endpoint = await driver.attach('n', { id: 'signals', sandbox, ports });
      await sctp.serve(sandbox, 3868, 'signals');
      await sctp.serve(sandbox, 3869, 'private');
      // as it is, from the LAN; and from the host itself, to its own address
      expect(await sctp.ask(lan.path, lan.hostAddress, 13_868)).toBe(`signals ${lan.address}`);
      expect(await sctp.ask(undefined, lan.hostAddress, 13_868)).toMatch(/^signals /);
      expect(await sctp.ask(undefined, addressOf(endpoint), 3869)).toMatch(/^private /);
      expect(await sctp.ask(lan.path, lan.hostAddress, 3869)).toBeUndefined();
      await driver.unpublish('n', 'signals', endpoint.ports);
      expect(await sctp.ask(lan.path, lan.hostAddress, 13_868)).toBeUndefined();
    },
  );
});
