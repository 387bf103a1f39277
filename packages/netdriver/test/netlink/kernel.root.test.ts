/** The netlink modules by themselves, against the kernel: what is asked for is what stands, and what changes is heard of. */

import { closeSync } from 'node:fs';
import { openNetlink, openNetworkNamespace } from '@tare/runtime-native/netlink';
import { expect, it } from 'vitest';

import {
  addAddress,
  addNeighbour,
  addRoute,
  addRoutingRule,
  AF,
  createMacvlan,
  createVeth,
  decodeAddress,
  decodeLink,
  decodeNeighbour,
  decodeRoute,
  decodeRoutingRule,
  deleteRoute,
  deleteRoutingRule,
  dumpAddresses,
  dumpNeighbours,
  dumpRoutes,
  dumpRoutingRules,
  getLink,
  lookUpRoute,
  NEIGHBOUR_STATE,
  NETLINK_GROUP,
  NetlinkConnection,
  netlinkEvents,
  RTM_LINK,
  setLink,
} from '../../src/netlink/index.ts';
import { describeInNamespace, Lab } from '../lab/namespaces.ts';

/** A fresh namespace with a cable in it, `a0` to `b0`, both ends up. */
async function cable(lab: Lab): Promise<{ sandbox: string; index: number; connection: NetlinkConnection }> {
  const sandbox = await lab.sandbox();
  const connection = new NetlinkConnection(openNetlink({ protocol: 'route', netns: sandbox }));
  lab.defer(async () => connection.close());
  const peer = { name: 'b0', macAddress: '02:00:00:00:00:0b' };
  await connection.send([
    createVeth({ name: 'a0', macAddress: '02:00:00:00:00:0a', mtu: 1400, group: 3, peer }),
    setLink({ name: 'b0' }, { up: true }),
  ]);
  const [message] = await connection.ask(getLink({ name: 'a0' }));
  return { sandbox, index: decodeLink(message!)!.index, connection };
}

describeInNamespace('netlink', () => {
  it('keeps addresses, routes and neighbours of both families', async () => {
    await using lab = await Lab.open();
    const { index: linkIndex, connection } = await cable(lab);
    await connection.send([
      addAddress({ linkIndex, address: '192.0.2.1', prefixLength: 24 }),
      addAddress({ linkIndex, address: '2001:db8::1', prefixLength: 64 }),
      addNeighbour({ linkIndex, address: '192.0.2.9', macAddress: '02:00:00:00:00:99' }),
      addNeighbour({
        linkIndex,
        address: '2001:db8::9',
        macAddress: '02:00:00:00:00:99',
        state: NEIGHBOUR_STATE.REACHABLE,
      }),
    ]);
    const destination = { address: '198.51.100.0', prefixLength: 24 };
    const destination6 = { address: '2001:db8:1::', prefixLength: 48 };
    await connection.send([
      addRoute({ destination, gateway: '192.0.2.9', linkIndex, metric: 7 }),
      addRoute({ destination: destination6, gateway: '2001:db8::9', linkIndex, table: 1000 }),
      addRoute({ linkIndex, family: AF.INET }),
    ]);
    const addresses = (await connection.ask(dumpAddresses(AF.UNSPEC))).map((m) => decodeAddress(m)?.address);
    expect(addresses).toEqual(expect.arrayContaining(['192.0.2.1', '2001:db8::1']));
    const neighbours = (await connection.ask(dumpNeighbours(AF.INET6))).map(decodeNeighbour);
    expect(neighbours).toContainEqual(
      expect.objectContaining({ address: '2001:db8::9', macAddress: '02:00:00:00:00:99' }),
    );
    const routes = (await connection.ask(dumpRoutes(AF.INET))).map(decodeRoute);
    expect(routes).toContainEqual(
      expect.objectContaining({ destination, gateway: '192.0.2.9', metric: 7, table: 254 }),
    );
    expect(routes).toContainEqual(
      expect.objectContaining({ destination: undefined, gateway: undefined, linkIndex, table: 254 }),
    );
    const routes6 = (await connection.ask(dumpRoutes(AF.INET6))).map(decodeRoute);
    expect(routes6).toContainEqual(expect.objectContaining({ destination: destination6, table: 1000 }));
    const [way] = await connection.ask(lookUpRoute('198.51.100.7'));
    expect(decodeRoute(way!)).toMatchObject({ gateway: '192.0.2.9', linkIndex });
    await connection.send(deleteRoute({ destination, gateway: '192.0.2.9', linkIndex, metric: 7 }));
    await expect(connection.send(deleteRoute({ destination, linkIndex }))).rejects.toMatchObject({
      code: 'ESRCH',
    });
  });

  it('keeps routing rules', async () => {
    await using lab = await Lab.open();
    const { connection } = await cable(lab);
    const rules = [
      { family: AF.INET, priority: 90, table: 1000, from: { address: '192.0.2.0', prefixLength: 24 } },
      {
        family: AF.INET6,
        priority: 91,
        table: 100,
        to: { address: '2001:db8::', prefixLength: 32 },
        incomingInterface: 'a0',
        mark: { value: 0x10, mask: 0xf0 },
      },
    ];
    await connection.send(rules.map(addRoutingRule));
    for (const rule of rules) {
      const listed = async () => (await connection.ask(dumpRoutingRules(rule.family))).map(decodeRoutingRule);
      expect(await listed()).toContainEqual(rule);
      await connection.send(deleteRoutingRule(rule));
      expect(await listed()).not.toContainEqual(rule);
      await expect(connection.send(deleteRoutingRule(rule))).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });

  it('puts a link on the wire of another straight into a namespace, by its descriptor', async () => {
    await using lab = await Lab.open();
    const { index: parent, connection } = await cable(lab);
    const path = await lab.sandbox();
    const namespaceFd = openNetworkNamespace(path);
    try {
      const macAddress = '02:00:00:00:00:0c';
      await connection.send(createMacvlan({ name: 'eth0', parent, namespaceFd, macAddress, mode: 'bridge' }));
    } finally {
      closeSync(namespaceFd);
    }
    using inside = new NetlinkConnection(openNetlink({ protocol: 'route', netns: path }));
    const [message] = await inside.ask(getLink({ name: 'eth0' }));
    expect(decodeLink(message!)).toMatchObject({
      kind: 'macvlan',
      macAddress: '02:00:00:00:00:0c',
      mtu: 1400,
    });
  });

  it("says in the kernel's own words what is wrong", async () => {
    await using lab = await Lab.open();
    const { index: linkIndex, connection } = await cable(lab);
    await expect(connection.send(addRoute({ gateway: '203.0.113.1', linkIndex }))).rejects.toMatchObject({
      code: 'ENETUNREACH',
      kernelMessage: expect.stringMatching(/gateway/) as string,
    });
  });

  it('tells of changes as they happen', async () => {
    await using lab = await Lab.open();
    const { sandbox, connection } = await cable(lab);
    const groups = [NETLINK_GROUP.LINK, NETLINK_GROUP.IPV4_ADDRESS];
    using source = openNetlink({ protocol: 'route', netns: sandbox, groups });
    const events = netlinkEvents(source)[Symbol.asyncIterator]();
    await connection.send(setLink({ name: 'b0' }, { alias: 'changed' }));
    for (;;) {
      const { value } = await events.next();
      const link = decodeLink(value!);
      if (value?.type === RTM_LINK.NEW && link?.alias === 'changed') break;
    }
    await connection.send(addAddress({ linkIndex: 1, address: '192.0.2.77', prefixLength: 32 }));
    for (;;) {
      const { value } = await events.next();
      if (decodeAddress(value!)?.address === '192.0.2.77') break;
    }
    source.close();
    while (!(await events.next()).done);
  });
});
