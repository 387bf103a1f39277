/** How networks meet the world outside: gateway modes, source addresses, trusted interfaces, and administrators' own rules. */

import { openNetlink } from '@tare/runtime-native/netlink';
import { expect, it } from 'vitest';

import { ACCEPT_MARK, createBridgeDriver, type BridgeNetworkConfig, type Endpoint } from '../src/index.ts';
import { addAddress, decodeLink, getLink, NetlinkConnection } from '../src/netlink/index.ts';
import {
  addChain,
  addRule,
  addTable,
  batch,
  compare,
  decodeChain,
  decodeRule,
  decodeTable,
  deleteTable,
  dumpChains,
  dumpRules,
  dumpTables,
  HOOK,
  ifnameBytes,
  meta,
  NFPROTO,
  PRIORITY,
  setMark,
  verdict,
  type TableId,
} from '../src/nftables/index.ts';
import {
  addressOf,
  describeInNamespace,
  gatewayOf,
  host,
  Lab,
  uniqueName,
  uniqueSubnet,
  uniqueSubnet6,
  type Agent,
} from './lab/namespaces.ts';

const SERVED = 80;
const UNPUBLISHED = 81;
const PORTS = [{ protocol: 'tcp' as const, containerPort: SERVED }];

/** A container on a network of its own that serves a published and an unpublished port, and two neighbours who route to it. */
async function world(lab: Lab, settings: (trusted: string) => Partial<BridgeNetworkConfig>) {
  const name = uniqueName();
  const driver = createBridgeDriver({ name });
  lab.defer(() => driver.destroy());
  const lan = await lab.lan({ routed: true });
  const other = await lab.lan({ routed: true });
  const network = await driver.createNetwork({
    id: 'n',
    bridgeName: uniqueName(),
    ipv6: true,
    subnets: [{ subnet: uniqueSubnet() }, { subnet: uniqueSubnet6() }],
    ...settings(lan.name),
  });
  const attach = async (id: string, ports: typeof PORTS): Promise<{ endpoint: Endpoint; agent: Agent }> => {
    const sandbox = await lab.sandbox();
    const endpoint = await driver.attach('n', { id, sandbox, ports });
    const agent = await lab.agent(sandbox);
    await agent.serve(id, SERVED);
    return { endpoint, agent };
  };
  const web = await attach('web', PORTS);
  await web.agent.serve('hidden', UNPUBLISHED);
  const neighbour = await lab.agent(lan.path);
  await neighbour.serve('lan', SERVED);
  return {
    name,
    driver,
    network,
    lan,
    other,
    neighbour,
    stranger: await lab.agent(other.path),
    ...web,
    attach,
  };
}

async function netfilter<T>(use: (connection: NetlinkConnection) => Promise<T>): Promise<T> {
  using connection = new NetlinkConnection(openNetlink({ protocol: 'netfilter' }));
  return await use(connection);
}

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

  it('has a chain for administrators, whose drops and marks count, and which outlives the driver when it is used', async () => {
    await using lab = await Lab.open();
    const { name, driver, endpoint, neighbour, stranger, lan, other } = await world(lab, () => ({}));
    const user: TableId = { family: NFPROTO.INET, name: `${name}-user` };
    const port = endpoint.ports[0]!.hostPort;
    expect(await stranger.tcp(other.hostAddress, port)).toMatch(/^web /);
    await neighbour.noTcp(addressOf(endpoint), UNPUBLISHED);
    const from = (interfaceName: string) => [meta('iifname'), compare('eq', ifnameBytes(interfaceName))];
    await netfilter((connection) =>
      connection.transact(
        batch([
          addRule(user, 'forward', [...from(other.name), verdict({ code: 'drop' })]),
          addRule(user, 'forward', [...from(lan.name), ...setMark(ACCEPT_MARK)]),
        ]),
      ),
    );
    await stranger.noTcp(other.hostAddress, port);
    expect(await neighbour.tcp(addressOf(endpoint), UNPUBLISHED)).toMatch(/^hidden /);
    await driver.destroy();
    const rules = await netfilter((connection) => connection.ask(dumpRules(user)));
    expect(rules.length).toBe(2);
    await netfilter((connection) => connection.transact(batch([deleteTable(user)])));
  });

  it('keeps the tables of dockerd, podman and firewalld as they are, and works beside them', async () => {
    await using lab = await Lab.open();
    // the names, hooks and priorities that they use
    const foreign: [TableId, string, number, number][] = [
      [{ family: NFPROTO.IPV4, name: 'filter' }, 'FORWARD', HOOK.FORWARD, PRIORITY.FILTER],
      [{ family: NFPROTO.INET, name: 'netavark' }, 'FORWARD', HOOK.FORWARD, PRIORITY.FILTER],
      [{ family: NFPROTO.INET, name: 'firewalld' }, 'filter_FORWARD', HOOK.FORWARD, PRIORITY.FILTER + 10],
    ];
    const unique = foreign.map(
      ([table, ...rest]) => [{ ...table, name: `${table.name}${uniqueName()}` }, ...rest] as const,
    );
    await netfilter((connection) =>
      connection.transact(
        batch(
          unique.flatMap(([table, name, number, priority]) => [
            addTable(table),
            addChain(table, { name, hook: { type: 'filter', number, priority } }),
            addRule(
              table,
              name,
              [meta('iifname'), compare('eq', ifnameBytes('docker0')), verdict({ code: 'drop' })],
              'theirs',
            ),
          ]),
        ),
      ),
    );
    const theirs = async () =>
      await netfilter(async (connection) => {
        const isTheirs = (table: string | undefined) => unique.some(([{ name }]) => name === table);
        const tables = (await connection.ask(dumpTables()))
          .map(decodeTable)
          .filter((table) => isTheirs(table?.name));
        const chains = (await connection.ask(dumpChains()))
          .map(decodeChain)
          .filter((chain) => isTheirs(chain?.table));
        const rules = [];
        for (const [table] of unique) rules.push((await connection.ask(dumpRules(table))).map(decodeRule));
        return { tables, chains, rules };
      });
    const before = await theirs();
    expect(before.rules.flat().map((rule) => rule?.comment)).toEqual(['theirs', 'theirs', 'theirs']);
    const { driver, endpoint, neighbour, lan } = await world(lab, () => ({}));
    expect(await neighbour.tcp(lan.hostAddress, endpoint.ports[0]!.hostPort)).toMatch(/^web /);
    await driver.reconcile({ networks: [], endpoints: [] });
    await driver.destroy();
    expect(await theirs()).toEqual(before);
    await netfilter((connection) => connection.transact(batch(unique.map(([table]) => deleteTable(table)))));
  });
});
