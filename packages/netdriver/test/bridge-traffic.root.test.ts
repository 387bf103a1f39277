/** Who reaches whom through the bridge driver: real TCP and UDP between real namespaces. */

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { Flows } from '../src/flows.ts';
import { createBridgeDriver, type BridgeDriver, type Endpoint, type Network } from '../src/index.ts';
import { nativeKernel } from '../src/native-kernel.ts';
import { NetlinkConnection } from '../src/netlink/connection.ts';
import { listAllFlows, partiesOf } from '../src/netlink/conntrack.ts';
import { addressBytes, AF } from '../src/netlink/ip-address.ts';
import {
  addressOf,
  describeInNamespace,
  gatewayOf,
  host,
  Lab,
  readIn,
  routeLoopbackTo,
  uniqueName,
  uniqueSubnet,
  uniqueSubnet6,
  type Agent,
} from './lab/namespaces.ts';

const SERVED = 80;
const UNPUBLISHED = 81;

/** Per namespace, and 1 in a new one; the paths through the kernel differ. */
const BRIDGE_FILTERS = ['iptables', 'ip6tables'].map((name) => `/proc/sys/net/bridge/bridge-nf-call-${name}`);

function packetTests(filter: '0' | '1', family: 4 | 6): void {
  const LOOPBACK = family === 4 ? '127.0.0.1' : '::1';
  const ANY = family === 4 ? '0.0.0.0' : '::';
  type Neighbour = { path: string; hostAddress: string; address: string };

  let lab: Lab;
  let driver: BridgeDriver;
  let front: Network;
  let back: Network;
  let secret: Network;
  let quiet: Network;
  let lan: Neighbour;
  let neighbour: Agent;
  let far: Neighbour;
  let web: Agent;
  let webEndpoint: Endpoint;
  let sibling: Agent;
  let other: Agent;
  let published: { tcp: number; udp: number; loopback: number; oneAddress: number };

  const ip = (endpoint: Endpoint): string => addressOf(endpoint, family);

  /** A neighbour, by its addresses of the family that is tried. */
  async function neighbourOf(options: { routed: boolean }): Promise<Neighbour> {
    const { path, ...made } = await lab.lan(options);
    return family === 4
      ? { path, hostAddress: made.hostAddress, address: made.address }
      : { path, hostAddress: made.hostAddress6, address: made.address6 };
  }

  const portOf = ({ ports }: Endpoint, protocol: string, hostIp = ANY): number =>
    ports.find((port) => port.protocol === protocol && port.hostIp === hostIp)!.hostPort;

  async function attach(
    network: Network,
    name: string,
    ports: Parameters<BridgeDriver['attach']>[1]['ports'] = [],
  ): Promise<{ endpoint: Endpoint; agent: Agent }> {
    const sandbox = await lab.sandbox();
    const endpoint = await driver.attach(network.id, { id: name, sandbox, ports });
    const agent = await lab.agent(sandbox);
    await agent.serve(name, SERVED);
    return { endpoint, agent };
  }

  beforeAll(async () => {
    lab = await Lab.open();
    for (const setting of BRIDGE_FILTERS) {
      if (!existsSync(setting)) continue;
      const before = readFileSync(setting, 'utf8');
      writeFileSync(setting, filter);
      lab.defer(async () => writeFileSync(setting, before));
    }
    driver = createBridgeDriver({ name: uniqueName() });
    lab.defer(() => driver.destroy());
    const make = (id: string, more: object) =>
      driver.createNetwork({
        id,
        bridgeName: uniqueName(),
        ipv6: family === 6,
        subnets: [{ subnet: uniqueSubnet() }, ...(family === 6 ? [{ subnet: uniqueSubnet6() }] : [])],
        ...more,
      });
    [front, back, secret, quiet] = [
      await make('front', {}),
      await make('back', {}),
      await make('secret', { internal: true }),
      await make('quiet', { icc: false }),
    ];
    lan = await neighbourOf({ routed: true });
    neighbour = await lab.agent(lan.path);
    await neighbour.serve('lan', SERVED);
    far = await neighbourOf({ routed: false });
    await (await lab.agent(far.path)).serve('outside', SERVED);

    const made = await attach(front, 'web', [
      { protocol: 'tcp', containerPort: SERVED },
      { protocol: 'udp', containerPort: SERVED },
      { protocol: 'tcp', containerPort: SERVED, hostIp: LOOPBACK },
      { protocol: 'tcp', containerPort: SERVED, hostIp: lan.hostAddress },
    ]);
    web = made.agent;
    webEndpoint = made.endpoint;
    await web.serve('hidden', UNPUBLISHED);
    const port = (protocol: string, hostIp: string): number => portOf(webEndpoint, protocol, hostIp);
    published = {
      tcp: port('tcp', ANY),
      udp: port('udp', ANY),
      loopback: port('tcp', LOOPBACK),
      oneAddress: port('tcp', lan.hostAddress),
    };
    sibling = (await attach(front, 'sibling')).agent;
    other = (await attach(back, 'other')).agent;
  });

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  it('leads the host itself to a published port, by its own address and by loopback', async () => {
    expect(await host.tcp(lan.hostAddress, published.tcp)).toMatch(/^web /);
    expect(await host.tcp(gatewayOf(front, family), published.tcp)).toMatch(/^web /);
    expect(await host.tcp(LOOPBACK, published.tcp)).toMatch(/^web /);
    expect(await host.udp(lan.hostAddress, published.udp)).toMatch(/^web /);
    expect(await host.udp(LOOPBACK, published.udp)).toMatch(/^web /);
  });

  it("leads the LAN to a published port and shows the container the client's address", async () => {
    expect(await neighbour.tcp(lan.hostAddress, published.tcp)).toBe(`web ${lan.address}`);
    expect(await neighbour.udp(lan.hostAddress, published.udp)).toBe(`web ${lan.address}`);
  });

  it('publishes on one address alone when asked to', async () => {
    expect(await neighbour.tcp(lan.hostAddress, published.oneAddress)).toBe(`web ${lan.address}`);
    await neighbour.noTcp(gatewayOf(front, family), published.oneAddress);
    await host.noTcp(LOOPBACK, published.oneAddress);
  });

  it('keeps a port that is published on loopback to the host (moby 45610)', async () => {
    expect(await host.tcp(LOOPBACK, published.loopback)).toMatch(/^web /);
    await neighbour.noTcp(lan.hostAddress, published.loopback);
    // a neighbour may send to 127.0.0.1 over the cable, and route_localnet would take it
    const attacker = await neighbourOf({ routed: true });
    const agent = await lab.agent(attacker.path);
    await routeLoopbackTo(attacker.path, attacker.hostAddress);
    await agent.noTcp(LOOPBACK, published.loopback);
    await agent.noTcp(LOOPBACK, published.tcp);
  });

  it("keeps services on the host's loopback from containers (CVE-2020-8558)", async () => {
    const server = createServer((socket) => socket.end('host secret'));
    await once(server.listen(0, LOOPBACK), 'listening');
    const { port } = server.address() as { port: number };
    const { agent, path } = await sandboxOn(front, 'thief');
    await routeLoopbackTo(path, gatewayOf(front, family));
    await agent.noTcp(LOOPBACK, port);
    expect(await host.tcp(LOOPBACK, port)).toBe('host secret');
    server.close();
  });

  it("lets containers out with the host's address", async () => {
    expect(await web.tcp(far.address, SERVED)).toBe(`outside ${far.hostAddress}`);
    expect(await web.udp(far.address, SERVED)).toBe(`outside ${far.hostAddress}`);
  });

  it('lets containers of one network reach each other, with their own addresses', async () => {
    expect(await sibling.tcp(ip(webEndpoint), UNPUBLISHED)).toMatch(/^hidden /);
    const [siblingEndpoint] = (await driver.endpoints('front')).filter(({ id }) => id === 'sibling');
    expect(await sibling.udp(ip(webEndpoint), SERVED)).toBe(`web ${ip(siblingEndpoint!)}`);
  });

  it('leads a container back to itself, its sibling and another network by way of a published port', async () => {
    for (const address of [gatewayOf(front, family), lan.hostAddress]) {
      expect(await web.tcp(address, published.tcp)).toMatch(/^web /);
      expect(await sibling.tcp(address, published.tcp)).toMatch(/^web /);
      expect(await other.tcp(address, published.tcp)).toMatch(/^web /);
      expect(await web.udp(address, published.udp)).toMatch(/^web /);
      expect(await sibling.udp(address, published.udp)).toMatch(/^web /);
    }
  });

  it('keeps networks apart', async () => {
    await other.noTcp(ip(webEndpoint), SERVED);
    await other.noTcp(ip(webEndpoint), UNPUBLISHED);
    await other.noUdp(ip(webEndpoint), SERVED);
  });

  it('keeps ports that are not published from the LAN, also when it routes to the container', async () => {
    await neighbour.noTcp(lan.hostAddress, UNPUBLISHED);
    await neighbour.noTcp(ip(webEndpoint), UNPUBLISHED);
    await neighbour.noTcp(ip(webEndpoint), SERVED);
    await neighbour.noUdp(ip(webEndpoint), SERVED);
  });

  it('leaves connections that only pass through the host alone (CVE-2025-67499)', async () => {
    // the port is published here, but these packets are for somebody else
    await attach(front, 'greedy', [{ protocol: 'tcp', containerPort: UNPUBLISHED, hostPort: SERVED }]);
    expect(await web.tcp(far.address, SERVED)).toBe(`outside ${far.hostAddress}`);
    await driver.detach('front', 'greedy');
  });

  it('lets nothing in or out of an internal network but its own', async () => {
    const inside = await attach(secret, 'vault', [{ protocol: 'tcp', containerPort: SERVED }]);
    const friend = await attach(secret, 'friend');
    expect(inside.endpoint.ports).toEqual([]);
    expect(inside.endpoint.gateway).toBeUndefined();
    expect(await friend.agent.tcp(ip(inside.endpoint), SERVED)).toMatch(/^vault /);
    await inside.agent.noTcp(far.address, SERVED);
    await inside.agent.noTcp(ip(webEndpoint), SERVED);
    await neighbour.noTcp(ip(inside.endpoint), SERVED);
    await other.noTcp(ip(inside.endpoint), SERVED);
    expect(await host.tcp(ip(inside.endpoint), SERVED)).toMatch(/^vault /);
  });

  it('lets endpoints of a network without inter-container traffic meet at published ports alone', async () => {
    const shop = await attach(quiet, 'shop', [{ protocol: 'tcp', containerPort: SERVED }]);
    const visitor = await attach(quiet, 'visitor');
    await visitor.agent.noTcp(ip(shop.endpoint), SERVED);
    await visitor.agent.noUdp(ip(shop.endpoint), SERVED);
    const hostPort = portOf(shop.endpoint, 'tcp');
    expect(await visitor.agent.tcp(lan.hostAddress, hostPort)).toMatch(/^shop /);
    expect(await neighbour.tcp(lan.hostAddress, hostPort)).toBe(`shop ${lan.address}`);
    expect(await visitor.agent.tcp(far.address, SERVED)).toMatch(/^outside /);
  });

  it('holds a published port against every other program, and takes nothing that arrives there', async () => {
    const server = createServer();
    const [error] = (await once(
      server.listen({ port: published.tcp, host: ANY, ipv6Only: true }),
      'error',
    )) as [NodeJS.ErrnoException];
    expect(error.code).toBe('EADDRINUSE');
    const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6', ipv6Only: family === 6 });
    const failed = once(socket, 'error');
    socket.bind(published.udp);
    expect(((await failed) as [NodeJS.ErrnoException])[0].code).toBe('EADDRINUSE');
  });

  it('refuses a port that another program serves, before anything changes', async () => {
    const server = createServer();
    await once(server.listen({ port: 0, host: ANY, ipv6Only: true }), 'listening');
    const { port } = server.address() as { port: number };
    const sandbox = await lab.sandbox();
    const before = (await driver.endpoints('front')).length;
    const ports = [{ protocol: 'tcp' as const, containerPort: SERVED, hostPort: port }];
    await expect(driver.attach('front', { id: 'late', sandbox, ports })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      ip: ANY,
      port,
      protocol: 'tcp',
      message: `host port ${family === 4 ? ANY : '[::]'}:${port}/tcp is already in use`,
    });
    expect((await driver.endpoints('front')).length).toBe(before);
    server.close();
  });

  it('leads a UDP flow to the new container once the old one is gone', async () => {
    const localPort = 40_123;
    const first = await attach(back, 'udp-old', [{ protocol: 'udp', containerPort: SERVED }]);
    const hostPort = portOf(first.endpoint, 'udp');
    expect(await neighbour.udp(lan.hostAddress, hostPort, localPort)).toBe(`udp-old ${lan.address}`);
    await driver.detach('back', 'udp-old');
    // the client goes on while nobody is there, so that the flow is known as one to the host
    await neighbour.noUdp(lan.hostAddress, hostPort, localPort);
    await attach(back, 'udp-new', [{ protocol: 'udp', containerPort: SERVED, hostPort }]);
    expect(await neighbour.udp(lan.hostAddress, hostPort, localPort)).toBe(`udp-new ${lan.address}`);
  });

  it('gives an address to another container without the connections and neighbours of the one before', async () => {
    const address = gatewayOf(back, family).replace(/1$/, '200');
    const fixed = family === 4 ? { ipv4Address: address } : { ipv6Address: address };
    const first = await lab.sandbox();
    const leased = await driver.attach('back', {
      id: 'leased',
      sandbox: first,
      ...fixed,
      ports: [{ protocol: 'udp', containerPort: SERVED }],
    });
    const tenant = await lab.agent(first);
    await tenant.serve('leased', SERVED);
    const hostPort = portOf(leased, 'udp');
    const localPort = 40_321;
    expect(await neighbour.udp(lan.hostAddress, hostPort, localPort)).toMatch(/^leased /);
    // now both know where the address is
    expect(await host.tcp(address, SERVED)).toMatch(/^leased /);
    expect(await other.tcp(address, SERVED)).toMatch(/^leased /);
    await driver.detach('back', 'leased');

    const second = await lab.sandbox();
    const heir = await lab.agent(second);
    await heir.serve('heir', SERVED);
    // entries younger than a second do not believe a gratuitous ARP (net.ipv4.neigh locktime)
    await setTimeout(1100);
    await driver.attach('back', { id: 'heir', sandbox: second, ...fixed });
    const began = performance.now();
    expect(await other.tcp(address, SERVED)).toMatch(/^heir /);
    expect(await host.tcp(address, SERVED)).toMatch(/^heir /);
    expect(performance.now() - began).toBeLessThan(900);
    await neighbour.noUdp(lan.hostAddress, hostPort, localPort);
  });

  it('forgets the flows of many that leave at once, and nobody else’s', async () => {
    const stays = await attach(back, 'stays', [{ protocol: 'udp', containerPort: SERVED }]);
    const leaves = await attach(back, 'leaves', [{ protocol: 'udp', containerPort: SERVED }]);
    for (const { endpoint } of [stays, leaves]) {
      expect(await neighbour.udp(lan.hostAddress, portOf(endpoint, 'udp'), 40_555)).toMatch(
        /^(stays|leaves) /,
      );
    }
    const partOf = async (address: string): Promise<number> => {
      using connection = new NetlinkConnection(nativeKernel().openNetlink({ protocol: 'netfilter' }));
      const flows = await connection.ask(listAllFlows(family === 4 ? AF.INET : AF.INET6));
      const wanted = Buffer.from(addressBytes(address));
      return flows.filter((flow) => partiesOf(flow).some((party) => wanted.equals(party))).length;
    };
    const [kept, left] = [ip(stays.endpoint), ip(leaves.endpoint)];
    expect([await partOf(kept), await partOf(left)]).toEqual([1, 1]);
    const flows = new Flows(nativeKernel());
    // none of the others has any
    const crowd = Array.from({ length: 99 }, (_, i) => (family === 4 ? `192.0.2.${i}` : `2001:db8::${i}`));
    await Promise.all([...crowd, left].map((address) => flows.forgetAddresses([address])));
    flows.close();
    expect([await partOf(kept), await partOf(left)]).toEqual([1, 0]);
  });

  it('makes an endpoint unreachable by the time it is detached', async () => {
    const { endpoint } = await attach(front, 'short', [{ protocol: 'tcp', containerPort: SERVED }]);
    const hostPort = portOf(endpoint, 'tcp');
    expect(await neighbour.tcp(lan.hostAddress, hostPort)).toMatch(/^short /);
    await driver.detach('front', 'short');
    await neighbour.noTcp(lan.hostAddress, hostPort);
    await sibling.noTcp(ip(endpoint), SERVED);
  });

  it.skipIf(family === 6)(
    'gives a network without IPv6 none by accident, and accepts no router advertisement',
    async () => {
      const { path, agent } = await sandboxOn(front, 'four');
      expect(await readIn(path, '/proc/net/if_inet6')).not.toMatch(/eth0/);
      expect(await readIn(path, '/proc/sys/net/ipv6/conf/eth0/accept_ra')).toBe('0\n');
      expect(readFileSync(`/proc/sys/net/ipv6/conf/${front.linkName}/accept_ra`, 'utf8')).toBe('0\n');
      expect(readFileSync('/proc/net/if_inet6', 'utf8')).not.toContain(front.linkName);
      await agent.stop();
    },
  );

  it('carries the very first packet of an endpoint', async () => {
    for (let round = 0; round < 10; round++) {
      const sandbox = await lab.sandbox();
      const agent = await lab.agent(sandbox);
      await driver.attach('front', { id: `eager${round}`, sandbox });
      const began = performance.now();
      await agent.tcp(ip(webEndpoint), SERVED);
      // an ARP request that is lost is repeated after a second
      expect(performance.now() - began).toBeLessThan(900);
      await driver.detach('front', `eager${round}`);
    }
  });

  async function sandboxOn(network: Network, id: string): Promise<{ path: string; agent: Agent }> {
    const path = await lab.sandbox();
    await driver.attach(network.id, { id, sandbox: path });
    return { path, agent: await lab.agent(path) };
  }
}

describeInNamespace('IPv4 packets of bridge networks', () => packetTests('0', 4));
describeInNamespace('IPv6 packets of bridge networks', () => packetTests('0', 6));
if (BRIDGE_FILTERS.every((path) => existsSync(path))) {
  describeInNamespace('IPv4 packets of bridge networks, with bridged packets filtered too', () =>
    packetTests('1', 4),
  );
  describeInNamespace('IPv6 packets of bridge networks, with bridged packets filtered too', () =>
    packetTests('1', 6),
  );
}
