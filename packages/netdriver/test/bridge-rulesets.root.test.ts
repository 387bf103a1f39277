/**
 * Others' hands on the ruleset, and ours on theirs: flushes, foreign tables, and the rules of administrators. In one file,
 * since a flush is of everything and the tests of a file take turns.
 */

import { openNetlink } from '@tare/runtime-native/netlink';
import { expect, it } from 'vitest';

import { eventually } from '../../../test/lab/process.ts';
import { ACCEPT_MARK, createBridgeDriver, createNftablesFirewall, nativeKernel } from '../src/index.ts';
import { NetlinkConnection } from '../src/netlink/index.ts';
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
  getTable,
  HOOK,
  ifnameBytes,
  meta,
  NFPROTO,
  NFT_MSG,
  PRIORITY,
  setMark,
  verdict,
  type TableId,
} from '../src/nftables/index.ts';
import { addressOf, describeInNamespace, host, Lab, uniqueName, uniqueSubnet } from './lab/namespaces.ts';
import { SERVED, UNPUBLISHED, world } from './lab/world.ts';

describeInNamespace('the ruleset', () => {
  it('keeps its table when the ruleset is flushed, and lets nobody else change it', async () => {
    await using lab = await Lab.open();
    const { driver, name, endpoint } = await publish(lab);
    const { hostPort } = endpoint.ports[0]!;
    await flushRuleset();
    if (await tableExists(name)) {
      expect(await host.tcp('127.0.0.1', hostPort)).toMatch(/^web /);
      const second = createBridgeDriver({ name });
      const late = { id: 'late', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] };
      await expect(second.createNetwork(late)).rejects.toMatchObject({ code: 'IN_USE' });
      await second[Symbol.asyncDispose]();
    } else {
      console.warn('this kernel has no owned and persistent tables (6.9); the flush took the rules');
    }
    await driver.destroy();
    expect(await tableExists(name)).toBe(false);
  });

  it('rebuilds a table that is not protected after `nft flush ruleset`', async () => {
    await using lab = await Lab.open();
    const { driver, endpoint, sandbox, network } = await publish(lab, { owned: false });
    const { hostPort } = endpoint.ports[0]!;
    expect(await host.tcp('127.0.0.1', hostPort)).toMatch(/^web /);
    // nobody has to say so: the driver hears of it
    await flushRuleset();
    await eventually('the port is back', async () => {
      const answer = await host.tcp('127.0.0.1', hostPort).catch(() => undefined);
      return answer?.startsWith('web ') || undefined;
    });
    await flushRuleset();
    const intended = { networks: [network], endpoints: [{ networkId: 'n', endpoint, sandbox }] };
    await driver.reconcile(intended);
    expect(await host.tcp('127.0.0.1', hostPort)).toMatch(/^web /);
    expect(await driver.endpoints('n')).toEqual([endpoint]);

    // without a reconcile the next change brings all of it back
    await flushRuleset();
    await driver.attach('n', { id: 'next', sandbox: await lab.sandbox() });
    expect(await host.tcp('127.0.0.1', hostPort)).toMatch(/^web /);
    await flushRuleset();
    await driver.detach('n', 'next');
    expect(await host.tcp('127.0.0.1', hostPort)).toMatch(/^web /);
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
  async function publish(lab: Lab, options?: { owned: boolean }) {
    const name = uniqueName();
    const firewall = createNftablesFirewall({ kernel: nativeKernel(), tableName: name, ...options });
    const driver = createBridgeDriver({ name, firewall });
    lab.defer(() => driver.destroy());
    const network = { id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] };
    await driver.createNetwork(network);
    const sandbox = await lab.sandbox();
    const ports = [{ protocol: 'tcp' as const, containerPort: SERVED, hostIp: '0.0.0.0' }];
    const endpoint = await driver.attach('n', { id: 'web', sandbox, ports });
    await (await lab.agent(sandbox)).serve('web', SERVED);
    return { driver, name, network, sandbox, endpoint };
  }
});

async function netfilter<T>(use: (connection: NetlinkConnection) => Promise<T>): Promise<T> {
  using connection = new NetlinkConnection(openNetlink({ protocol: 'netfilter' }));
  return await use(connection);
}

/** What `nft flush ruleset` sends: delete every table of every family. */
async function flushRuleset(): Promise<void> {
  using connection = new NetlinkConnection(openNetlink({ protocol: 'netfilter' }));
  const everything = { ...deleteTable({ family: NFPROTO.UNSPEC, name: '' }), payload: new Uint8Array(4) };
  await connection.transact(batch([everything]));
}

async function tableExists(name: string): Promise<boolean> {
  using connection = new NetlinkConnection(openNetlink({ protocol: 'netfilter' }));
  try {
    const [message] = await connection.ask(getTable({ family: NFPROTO.INET, name }));
    return message?.type === NFT_MSG.NEWTABLE;
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return false;
    throw error;
  }
}
