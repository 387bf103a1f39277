/** What endpoints may not pretend, shown by what does and does not arrive on the wire. */

import { readFileSync, readlinkSync, readdirSync } from 'node:fs';
import { openNetlink } from '@tare/runtime-native/netlink';
import { afterAll, beforeAll, expect, it } from 'vitest';

import {
  createBridgeDriver,
  createNftablesFirewall,
  nativeKernel,
  type BridgeDriver,
  type Endpoint,
} from '../src/index.ts';
import {
  AF,
  decodeNeighbour,
  decodeRoute,
  dumpNeighbours,
  dumpRoutes,
  NetlinkConnection,
} from '../src/netlink/index.ts';
import {
  canSeeFrames,
  gratuitousArp,
  ipv4,
  neighbourAdvertisement,
  routerAdvertisement,
  Wire,
} from './lab/frames.ts';
import {
  addressOf,
  describeInNamespace,
  gatewayOf,
  host,
  Lab,
  readIn,
  uniqueName,
  uniqueSubnet,
  uniqueSubnet6,
  type Agent,
} from './lab/namespaces.ts';

const SERVED = 80;
const ROGUE = 'fe80::bad';

if (canSeeFrames()) describeInNamespace('an endpoint of a bridge network', guardTests);

function guardTests(): void {
  let lab: Lab;
  let driver: BridgeDriver;
  let thief: { endpoint: Endpoint; wire: Wire };
  let victim: { endpoint: Endpoint; wire: Wire; agent: Agent; sandbox: string };
  let friend: { endpoint: Endpoint; agent: Agent };
  let gateways: [string, string];

  beforeAll(async () => {
    lab = await Lab.open();
    driver = createBridgeDriver({ name: uniqueName() });
    lab.defer(() => driver.destroy());
    const network = await driver.createNetwork({
      id: 'n',
      bridgeName: uniqueName(),
      ipv6: true,
      subnets: [{ subnet: uniqueSubnet() }, { subnet: uniqueSubnet6() }],
    });
    gateways = [gatewayOf(network), gatewayOf(network, 6)];
    const attach = async (id: string) => {
      const sandbox = await lab.sandbox();
      const endpoint = await driver.attach('n', { id, sandbox });
      const wire = await Wire.open(sandbox);
      lab.defer(() => wire[Symbol.asyncDispose]());
      const agent = await lab.agent(sandbox);
      await agent.serve(id, SERVED);
      return { endpoint, wire, agent, sandbox };
    };
    thief = await attach('thief');
    victim = await attach('victim');
    friend = await attach('friend');
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  it('is no router to the others, nor to the host (CVE-2020-13401, CVE-2020-10749)', async () => {
    const frame = routerAdvertisement(thief.endpoint.macAddress, ROGUE);
    await thief.wire.send(frame, frame);
    expect(victim.wire.heard(frame)).toBe(false);
    expect(await readIn(victim.sandbox, '/proc/net/ipv6_route')).not.toContain('20010db80bad');
    using connection = new NetlinkConnection(openNetlink({ protocol: 'route' }));
    const routes = (await connection.ask(dumpRoutes(AF.INET6))).map((message) => decodeRoute(message));
    expect(
      routes.filter(
        (route) =>
          route && (route.gateway === ROGUE || route.destination?.address.startsWith('2001:db8:bad')),
      ),
    ).toEqual([]);
  });

  it("does not claim another one's address or the gateway's, by ARP or by neighbour discovery", async () => {
    const mac = thief.endpoint.macAddress;
    const owned = [addressOf(friend.endpoint), gateways[0]];
    const owned6 = [addressOf(friend.endpoint, 6), gateways[1]];
    const frames = [
      ...owned.map((address) => gratuitousArp(mac, address)),
      ...owned6.map((address) => neighbourAdvertisement(mac, addressOf(thief.endpoint, 6), address)),
    ];
    // both know where the friend is
    expect(await host.tcp(owned[0]!, SERVED)).toMatch(/^friend /);
    expect(await victim.agent.tcp(owned6[0]!, SERVED)).toMatch(/^friend /);
    await thief.wire.send(...frames);
    for (const frame of frames) expect(victim.wire.heard(frame)).toBe(false);
    using connection = new NetlinkConnection(openNetlink({ protocol: 'route' }));
    const known = (await connection.ask(dumpNeighbours(AF.INET))).map((message) => decodeNeighbour(message));
    expect(known.find((entry) => entry?.address === owned[0])?.macAddress).toBe(friend.endpoint.macAddress);
    expect(await victim.agent.tcp(owned[0]!, SERVED)).toMatch(/^friend /);
  });

  it("sends nothing with another one's address or MAC address", async () => {
    const to = victim.endpoint.macAddress;
    const target = addressOf(victim.endpoint);
    const frames = [
      ipv4(thief.endpoint.macAddress, to, addressOf(friend.endpoint), target),
      ipv4(friend.endpoint.macAddress, to, addressOf(thief.endpoint), target),
      ipv4(thief.endpoint.macAddress, to, gateways[0], target),
    ];
    await thief.wire.send(...frames);
    for (const frame of frames) expect(victim.wire.heard(frame)).toBe(false);
    // the bridge did not learn that the friend is where the thief is
    expect(await victim.agent.tcp(addressOf(friend.endpoint), SERVED)).toMatch(/^friend /);
    // its own are its own
    const honest = ipv4(thief.endpoint.macAddress, to, addressOf(thief.endpoint), target);
    await thief.wire.send(honest);
    expect(victim.wire.heard(honest)).toBe(true);
  });

  it('may share an address that nobody has, as keepalived does', async () => {
    const free = gateways[0].replace(/1$/, '222');
    const frame = gratuitousArp(thief.endpoint.macAddress, free);
    await thief.wire.send(frame);
    expect(victim.wire.heard(frame)).toBe(true);
  });

  it('is held to it by the guard alone: without it the frames arrive', async () => {
    const name = uniqueName();
    const firewall = createNftablesFirewall({ kernel: nativeKernel(), tableName: name, guard: false });
    const careless = createBridgeDriver({ name, firewall });
    lab.defer(() => careless.destroy());
    const network = await careless.createNetwork({
      id: 'open',
      bridgeName: uniqueName(),
      ipv6: true,
      subnets: [{ subnet: uniqueSubnet() }, { subnet: uniqueSubnet6() }],
    });
    const [first, second] = [await lab.sandbox(), await lab.sandbox()];
    const one = await careless.attach('open', { id: 'one', sandbox: first });
    const two = await careless.attach('open', { id: 'two', sandbox: second });
    await using sender = await Wire.open(first);
    await using listener = await Wire.open(second);
    const mac = one.macAddress;
    const frames = [
      gratuitousArp(mac, addressOf(two)),
      routerAdvertisement(mac, ROGUE),
      neighbourAdvertisement(mac, addressOf(one, 6), gatewayOf(network, 6)),
      ipv4(mac, two.macAddress, gatewayOf(network), addressOf(two)),
    ];
    await sender.send(...frames);
    expect(frames.map((frame) => listener.heard(frame))).toEqual([true, true, true, true]);
  });

  it('finds no abstract socket of ours to talk to (CVE-2020-15257)', () => {
    const own = new Set(
      readdirSync('/proc/self/fd').flatMap((fd) => {
        try {
          return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? [];
        } catch {
          // the descriptor of the listing itself
          return [];
        }
      }),
    );
    const abstract = readFileSync('/proc/net/unix', 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , , , , inode, path]) => inode !== undefined && own.has(inode) && path?.startsWith('@'));
    expect(abstract).toEqual([]);
  });

  it('is not named by what leads elsewhere (CVE-2021-20206)', async () => {
    const sandbox = await lab.sandbox();
    for (const name of [
      '../../escape',
      'a/b',
      '..',
      '',
      'a b',
      'x'.repeat(16),
      'default',
      'lo',
      'eth0;drop',
    ]) {
      await expect(driver.createNetwork({ id: 'bad', bridgeName: name })).rejects.toMatchObject({
        code: 'INVALID_CONFIG',
      });
      await expect(driver.attach('n', { id: 'bad', sandbox, interfaceName: name })).rejects.toMatchObject({
        code: 'INVALID_CONFIG',
      });
    }
    for (const name of [
      'kernel.core_pattern',
      'net.ipv4../../kernel.x',
      'net/../kernel/core_pattern',
      'net',
    ]) {
      const sysctls = { [name]: '1' };
      await expect(driver.attach('n', { id: 'bad', sandbox, sysctls }), name).rejects.toThrow();
    }
  });
}
