/** The nf_tables modules by themselves, against the kernel: what is written is listed, compared and mended. */

import { openNetlink } from '@tare/runtime-native/netlink';
import { expect, it } from 'vitest';

import { addressBytes, NetlinkConnection } from '../../src/netlink/index.ts';
import {
  addChain,
  addRule,
  addSet,
  addTable,
  batch,
  changeElements,
  compareElements,
  decodeChain,
  decodeElements,
  decodeGeneration,
  decodeRule,
  decodeSet,
  decodeTable,
  deleteRule,
  deleteTable,
  dumpChains,
  dumpElements,
  dumpRules,
  dumpSets,
  dumpTables,
  FIELD,
  getGeneration,
  HOOK,
  lookup,
  meta,
  NFPROTO,
  payload,
  portBytes,
  PRIORITY,
  verdict,
  type SetElement,
} from '../../src/nftables/index.ts';
import { describeInNamespace, Lab } from '../lab/namespaces.ts';

const table = { family: NFPROTO.INET, name: 'mine' };
const ports = { name: 'ports', key: [FIELD.PORT], data: [FIELD.IPV4] };
const verdicts = { name: 'verdicts', key: [FIELD.PORT], data: 'verdict' as const };
const element = (port: number, address: string): SetElement => ({
  key: [portBytes(port)],
  data: [addressBytes(address)],
  comment: `to ${address}`,
});

async function open(lab: Lab): Promise<NetlinkConnection> {
  const connection = new NetlinkConnection(
    openNetlink({ protocol: 'netfilter', netns: await lab.sandbox() }),
  );
  lab.defer(async () => connection.close());
  const hook = { type: 'filter', number: HOOK.FORWARD, priority: PRIORITY.FILTER - 5, policy: 0 } as const;
  await connection.transact(
    batch([
      addTable(table),
      addSet(table, ports, 1),
      addChain(table, { name: 'forward', hook }),
      addChain(table, { name: 'aside' }),
      addSet(table, verdicts, 2),
      ...changeElements(table, 'ports', 'add', [element(80, '192.0.2.1'), element(81, '192.0.2.2')]),
      ...changeElements(table, 'verdicts', 'add', [
        { key: [portBytes(22)], data: { code: 'goto', chain: 'aside' } },
        { key: [portBytes(23)], data: { code: 'drop' } },
      ]),
      addRule(
        table,
        'forward',
        [meta('l4proto'), payload('transport', 2, 2), lookup('verdicts', 'verdict')],
        'by port',
      ),
      addRule(table, 'aside', [verdict({ code: 'accept' })]),
    ]),
  );
  return connection;
}

describeInNamespace('nf_tables', () => {
  it('lists tables, chains, sets, elements and rules as they were written', async () => {
    await using lab = await Lab.open();
    const connection = await open(lab);
    expect((await connection.ask(dumpTables())).map(decodeTable)).toMatchObject([
      { ...table, flags: 0, owner: undefined },
    ]);
    expect((await connection.ask(dumpChains(NFPROTO.INET))).map(decodeChain)).toEqual([
      {
        family: 1,
        table: 'mine',
        name: 'forward',
        hook: { number: HOOK.FORWARD, priority: -5, type: 'filter', policy: 0 },
      },
      { family: 1, table: 'mine', name: 'aside', hook: undefined },
    ]);
    expect((await connection.ask(dumpSets(table))).map(decodeSet)).toMatchObject([
      { name: 'ports', keyBytes: 2 },
      { name: 'verdicts', keyBytes: 2 },
    ]);
    const elements = (await connection.ask(dumpElements(table, 'ports'))).flatMap(decodeElements);
    expect(elements.map(({ key, data, comment }) => [[...key], data, comment])).toEqual(
      expect.arrayContaining([[[0, 80], addressBytes('192.0.2.1'), 'to 192.0.2.1']]),
    );
    const listed = (await connection.ask(dumpElements(table, 'verdicts'))).flatMap(decodeElements);
    expect(listed.map(({ data }) => data)).toEqual(
      expect.arrayContaining([
        { code: -4, chain: 'aside' },
        { code: 0, chain: undefined },
      ]),
    );
    const rules = (await connection.ask(dumpRules(table, 'forward'))).map(decodeRule);
    expect(rules).toMatchObject([
      { expressions: ['meta', 'payload', 'lookup'], comment: 'by port', chain: 'forward' },
    ]);
    await connection.transact(batch([deleteRule(table, 'forward', rules[0]!.handle)]));
    expect(await connection.ask(dumpRules(table, 'forward'))).toEqual([]);
  });

  it('mends a set by what it lacks and has too much of, unless somebody was faster', async () => {
    await using lab = await Lab.open();
    const connection = await open(lab);
    const wanted = [element(80, '192.0.2.1'), element(81, '192.0.2.99'), element(82, '192.0.2.3')];
    const encoded = ({ key, data }: SetElement) => ({
      key: Buffer.concat(key),
      data: Array.isArray(data) ? Buffer.concat(data) : undefined,
    });
    const present = async () => (await connection.ask(dumpElements(table, 'ports'))).flatMap(decodeElements);
    const [generation] = (await connection.ask(getGeneration())).map(decodeGeneration);
    const { missing, surplus } = compareElements(wanted, await present(), encoded);
    expect(missing.map(({ comment }) => comment)).toEqual(['to 192.0.2.99', 'to 192.0.2.3']);
    expect(surplus.map((key) => [...key])).toEqual([[0, 81]]);
    const mending = [
      ...changeElements(
        table,
        'ports',
        'delete',
        surplus.map((key) => ({ key: [key] })),
      ),
      ...changeElements(table, 'ports', 'add', missing),
    ];
    // somebody else changes the ruleset meanwhile
    await connection.transact(batch([addTable({ family: NFPROTO.INET, name: 'theirs' })]));
    await expect(connection.transact(batch(mending, { generation: generation! }))).rejects.toMatchObject({
      code: 'ERESTART',
    });
    expect(compareElements(wanted, await present(), encoded).missing.length).toBe(2);
    const [now] = (await connection.ask(getGeneration())).map(decodeGeneration);
    await connection.transact(batch(mending, { generation: now! }));
    expect(compareElements(wanted, await present(), encoded)).toEqual({ missing: [], surplus: [] });
  });

  it('takes a transaction as a whole or not at all', async () => {
    await using lab = await Lab.open();
    const connection = await open(lab);
    const attempt = connection.transact(
      batch([
        ...changeElements(table, 'ports', 'add', [element(90, '192.0.2.9')]),
        addRule(table, 'nowhere', [verdict({ code: 'drop' })]),
      ]),
    );
    await expect(attempt).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining('nowhere') as string,
    });
    const elements = (await connection.ask(dumpElements(table, 'ports'))).flatMap(decodeElements);
    expect(elements.length).toBe(2);
    await connection.transact(batch([deleteTable(table)]));
  });
});
