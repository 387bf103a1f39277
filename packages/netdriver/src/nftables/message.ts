/**
 * nf_tables objects as netlink requests: tables, chains, sets and maps, elements, rules. Every integer is big endian.
 *
 * See `<linux/netfilter/nf_tables.h>` and nft(8).
 */

import { AttributeWriter } from '../netlink/attributes.ts';
import { NLM_F, type NetlinkRequest } from '../netlink/message.ts';
import type { Expression, Verdict } from './expression.ts';
import { writeExpressions, writeVerdict } from './expression.ts';

/** `NFNL_SUBSYS_NFTABLES << 8`, to which the message number is added. */
const SUBSYSTEM = 10 << 8;
/** Message types (`NFT_MSG_*` within the subsystem). */
export const NFT_MSG = {
  NEWTABLE: SUBSYSTEM | 0,
  GETTABLE: SUBSYSTEM | 1,
  DELTABLE: SUBSYSTEM | 2,
  NEWCHAIN: SUBSYSTEM | 3,
  GETCHAIN: SUBSYSTEM | 4,
  DELCHAIN: SUBSYSTEM | 5,
  NEWRULE: SUBSYSTEM | 6,
  GETRULE: SUBSYSTEM | 7,
  DELRULE: SUBSYSTEM | 8,
  NEWSET: SUBSYSTEM | 9,
  GETSET: SUBSYSTEM | 10,
  DELSET: SUBSYSTEM | 11,
  NEWSETELEM: SUBSYSTEM | 12,
  GETSETELEM: SUBSYSTEM | 13,
  DELSETELEM: SUBSYSTEM | 14,
  NEWGEN: SUBSYSTEM | 15,
  GETGEN: SUBSYSTEM | 16,
  /** Deletes an element that may not be there (kernel 6.3). */
  DESTROYSETELEM: SUBSYSTEM | 30,
} as const;

/** Families of tables (`NFPROTO_*`). */
export const NFPROTO = { UNSPEC: 0, INET: 1, IPV4: 2, BRIDGE: 7, IPV6: 10 } as const;
/** Points in a packet's way where a base chain may sit (`NF_INET_*`). */
export const HOOK = { PREROUTING: 0, INPUT: 1, FORWARD: 2, OUTPUT: 3, POSTROUTING: 4 } as const;
/** The customary priorities of base chains; lower ones come first. */
export const PRIORITY = { RAW: -300, DSTNAT: -100, FILTER: 0, SRCNAT: 100 } as const;
/** What becomes of packets that reach a base chain's end. */
export const POLICY = { DROP: 0, ACCEPT: 1 } as const;

/**
 * Flags of a table. `OWNER`: only the socket that made it may change it, and `nft flush ruleset` passes it by.
 * `PERSIST` (kernel 6.9): it outlives that socket, and the next one to ask becomes the owner.
 */
export const TABLE_FLAG = { OWNER: 2, PERSIST: 4 } as const;

const NFTA_TABLE = { NAME: 1, FLAGS: 2 } as const;
const NFTA_CHAIN = { TABLE: 1, NAME: 3, HOOK: 4, POLICY: 5, TYPE: 7 } as const;
const NFTA_HOOK = { NUMBER: 1, PRIORITY: 2 } as const;
const NFTA_SET = {
  TABLE: 1,
  NAME: 2,
  FLAGS: 3,
  KEY_TYPE: 4,
  KEY_LEN: 5,
  DATA_TYPE: 6,
  DATA_LEN: 7,
  DESC: 9,
  ID: 10,
  USERDATA: 13,
} as const;
const NFTA_SET_DESC_CONCAT = 2;
const NFTA_SET_FIELD_LEN = 1;
const SET_FLAG = { MAP: 0x8, CONCAT: 0x80 } as const;
const NFTA_RULE = { TABLE: 1, CHAIN: 2, HANDLE: 3, EXPRESSIONS: 4, USERDATA: 7 } as const;
const NFTA_ELEMENTS = { TABLE: 1, SET: 2, ELEMENTS: 3 } as const;
const NFTA_ELEMENT = { KEY: 1, DATA: 2, USERDATA: 6 } as const;
const NFTA_DATA = { VALUE: 1, VERDICT: 2 } as const;
const NFTA_LIST_ELEM = 1;

/** Data type number of a verdict map (`NFT_DATA_VERDICT`). */
const DATA_TYPE_VERDICT = 0xffffff00;
/** One list of elements is an attribute, and those hold less than 64 KiB. */
const ELEMENT_LIST_BYTES = 60_000;

/** What nft(8) itself allows. */
const COMMENT_BYTES = 128;

/** A value's type: `id` is what nft(8) prints it by, the kernel only looks at the length. */
export interface FieldType {
  readonly id: number;
  readonly bytes: number;
  /** Stored little endian, as nft(8) must know to print it. */
  readonly hostOrder?: boolean;
}

/** The types that keys and data are made of. */
export const FIELD = {
  NFPROTO: { id: 2, bytes: 1, hostOrder: true },
  IPV4: { id: 7, bytes: 4 },
  IPV6: { id: 8, bytes: 16 },
  MAC: { id: 9, bytes: 6 },
  PROTOCOL: { id: 12, bytes: 1 },
  PORT: { id: 13, bytes: 2 },
  MARK: { id: 19, bytes: 4, hostOrder: true },
  IFNAME: { id: 41, bytes: 16, hostOrder: true },
} as const satisfies Record<string, FieldType>;

/** A set, or with `data` a map. */
export interface SetDefinition {
  readonly name: string;
  /** More than one is a concatenation. */
  readonly key: readonly FieldType[];
  readonly data?: readonly FieldType[] | 'verdict';
}

/** One element: the fields of its key in order, and for a map what it maps to. */
export interface SetElement {
  readonly key: readonly Uint8Array[];
  readonly data?: readonly Uint8Array[] | Verdict;
  /** Shown by `nft list`. What is beyond 128 bytes is cut off. */
  readonly comment?: string;
}

/** Which table a request is about. */
export interface TableId {
  readonly family: number;
  readonly name: string;
}

/** Creates a table, or takes over one that an earlier owner left (see {@link TABLE_FLAG}). */
export function addTable(table: TableId, flags = 0): NetlinkRequest {
  const body = writer(table.family).string(NFTA_TABLE.NAME, table.name).be32(NFTA_TABLE.FLAGS, flags);
  return request(`add table ${table.name}`, NFT_MSG.NEWTABLE, NLM_F.CREATE, body);
}

/** Deletes a table with everything in it. */
export function deleteTable(table: TableId): NetlinkRequest {
  const body = writer(table.family).string(NFTA_TABLE.NAME, table.name);
  return request(`delete table ${table.name}`, NFT_MSG.DELTABLE, 0, body);
}

/** Asks for one table; ENOENT when there is none. */
export function getTable(table: TableId): NetlinkRequest {
  const body = writer(table.family).string(NFTA_TABLE.NAME, table.name);
  return request(`find table ${table.name}`, NFT_MSG.GETTABLE, 0, body);
}

/** Creates a chain: with `hook` one that packets enter by themselves, else one to jump to. */
export function addChain(
  table: TableId,
  chain: {
    name: string;
    hook?: { type: 'filter' | 'nat' | 'route'; number: number; priority: number; policy?: number };
  },
): NetlinkRequest {
  const { name, hook } = chain;
  const body = writer(table.family).string(NFTA_CHAIN.TABLE, table.name).string(NFTA_CHAIN.NAME, name);
  if (hook) {
    body
      .nested(NFTA_CHAIN.HOOK, (inner) =>
        inner.be32(NFTA_HOOK.NUMBER, hook.number).be32(NFTA_HOOK.PRIORITY, hook.priority),
      )
      .be32(NFTA_CHAIN.POLICY, hook.policy ?? POLICY.ACCEPT)
      .string(NFTA_CHAIN.TYPE, hook.type);
  }
  return request(`add chain ${table.name} ${name}`, NFT_MSG.NEWCHAIN, NLM_F.CREATE, body);
}

/** Creates a set or map. `id` tells the sets of one batch apart; any number that is used once. */
export function addSet(table: TableId, set: SetDefinition, id: number): NetlinkRequest {
  const { name, key, data } = set;
  const map = data === undefined ? 0 : SET_FLAG.MAP;
  const concat = key.length > 1 ? SET_FLAG.CONCAT : 0;
  const body = writer(table.family)
    .string(NFTA_SET.TABLE, table.name)
    .string(NFTA_SET.NAME, name)
    .be32(NFTA_SET.FLAGS, map | concat)
    .be32(NFTA_SET.KEY_TYPE, typeId(key))
    .be32(NFTA_SET.KEY_LEN, paddedBytes(key))
    .be32(NFTA_SET.ID, id);
  if (data === 'verdict') {
    body.be32(NFTA_SET.DATA_TYPE, DATA_TYPE_VERDICT).be32(NFTA_SET.DATA_LEN, 0);
  } else if (data) {
    body.be32(NFTA_SET.DATA_TYPE, typeId(data)).be32(NFTA_SET.DATA_LEN, paddedBytes(data));
  }
  if (concat) {
    body.nested(NFTA_SET.DESC, (desc) =>
      desc.nested(NFTA_SET_DESC_CONCAT, (fields) => {
        for (const field of key) {
          fields.nested(NFTA_LIST_ELEM, (inner) => inner.be32(NFTA_SET_FIELD_LEN, field.bytes));
        }
      }),
    );
  }
  body.bytes(NFTA_SET.USERDATA, byteOrderHints(key, data));
  return request(`add set ${table.name} ${name}`, NFT_MSG.NEWSET, NLM_F.CREATE, body);
}

/** What to do with elements. `destroy` does not mind those that are not there (kernel 6.3), `delete` does. */
export type ElementAction = 'add' | 'delete' | 'destroy';

/**
 * Adds or removes elements, in as many messages as they need. Adding one that is there with the same data is no
 * error, with other data it is (EEXIST).
 */
export function changeElements(
  table: TableId,
  setName: string,
  action: ElementAction,
  elements: readonly SetElement[],
): NetlinkRequest[] {
  const type = { add: NFT_MSG.NEWSETELEM, delete: NFT_MSG.DELSETELEM, destroy: NFT_MSG.DESTROYSETELEM }[
    action
  ];
  const flags = action === 'add' ? NLM_F.CREATE : 0;
  const requests: NetlinkRequest[] = [];
  for (let next = 0; next < elements.length;) {
    const body = writer(table.family)
      .string(NFTA_ELEMENTS.TABLE, table.name)
      .string(NFTA_ELEMENTS.SET, setName)
      .nested(NFTA_ELEMENTS.ELEMENTS, (list) => {
        for (; next < elements.length && list.length < ELEMENT_LIST_BYTES; next++) {
          writeElement(list, elements[next]!, action === 'add');
        }
      });
    requests.push(request(`${action} elements of ${table.name} ${setName}`, type, flags, body));
  }
  return requests;
}

/** Asks for the elements of a set. */
export function dumpElements(table: TableId, setName: string): NetlinkRequest {
  const body = writer(table.family)
    .string(NFTA_ELEMENTS.TABLE, table.name)
    .string(NFTA_ELEMENTS.SET, setName);
  return request(`list elements of ${table.name} ${setName}`, NFT_MSG.GETSETELEM, NLM_F.DUMP, body);
}

/** Appends a rule to a chain. */
export function addRule(
  table: TableId,
  chainName: string,
  expressions: readonly Expression[],
  comment?: string,
): NetlinkRequest {
  const body = writer(table.family)
    .string(NFTA_RULE.TABLE, table.name)
    .string(NFTA_RULE.CHAIN, chainName)
    .nested(NFTA_RULE.EXPRESSIONS, (list) => writeExpressions(list, expressions));
  if (comment !== undefined) body.bytes(NFTA_RULE.USERDATA, commentData(comment));
  return request(
    `add rule ${table.name} ${chainName}${comment === undefined ? '' : ` (${comment})`}`,
    NFT_MSG.NEWRULE,
    NLM_F.CREATE | NLM_F.APPEND,
    body,
  );
}

/** Deletes a rule by its handle; see `dumpRules`. */
export function deleteRule(table: TableId, chainName: string, handle: bigint): NetlinkRequest {
  const body = writer(table.family)
    .string(NFTA_RULE.TABLE, table.name)
    .string(NFTA_RULE.CHAIN, chainName)
    .be64(NFTA_RULE.HANDLE, handle);
  return request(`delete rule ${handle} of ${table.name} ${chainName}`, NFT_MSG.DELRULE, 0, body);
}

/** Deletes a chain, which must be empty and unused. */
export function deleteChain(table: TableId, name: string): NetlinkRequest {
  const body = writer(table.family).string(NFTA_CHAIN.TABLE, table.name).string(NFTA_CHAIN.NAME, name);
  return request(`delete chain ${table.name} ${name}`, NFT_MSG.DELCHAIN, 0, body);
}

/** Deletes a set or map that no rule uses. */
export function deleteSet(table: TableId, name: string): NetlinkRequest {
  const body = writer(table.family).string(NFTA_SET.TABLE, table.name).string(NFTA_SET.NAME, name);
  return request(`delete set ${table.name} ${name}`, NFT_MSG.DELSET, 0, body);
}

/** Asks for the number of the ruleset's current generation, which every batch raises. */
export function getGeneration(): NetlinkRequest {
  return request('read the ruleset generation', NFT_MSG.GETGEN, 0, writer(NFPROTO.UNSPEC));
}

/** The 16 zero-padded bytes of an interface name. */
export function ifnameBytes(name: string): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(Buffer.from(name).subarray(0, 15));
  return bytes;
}

/** A port number in network order. */
export function portBytes(port: number): Uint8Array {
  return Uint8Array.of(port >> 8, port & 0xff);
}

/** A body that begins with `nfgenmsg`: family, version, resource. */
function writer(family: number): AttributeWriter {
  return new AttributeWriter(512).raw(Uint8Array.of(family, 0, 0, 0));
}

function request(description: string, type: number, flags: number, body: AttributeWriter): NetlinkRequest {
  return { description, type, flags, payload: body.finish() };
}

/** Concatenated types: six bits each. */
function typeId(fields: readonly FieldType[]): number {
  return fields.reduce((id, field) => (id << 6) | field.id, 0);
}

function pad4(length: number): number {
  return (length + 3) & ~3;
}

/** Each field of a concatenation starts at a register of 4 bytes; a lone one has its own length. */
function paddedBytes(fields: readonly FieldType[]): number {
  if (fields.length === 1) return fields[0]!.bytes;
  return fields.reduce((sum, field) => sum + pad4(field.bytes), 0);
}

/** Lays the fields of a key or of data out as the kernel compares them. */
function joined(fields: readonly Uint8Array[]): Uint8Array {
  if (fields.length === 1) return fields[0]!;
  const bytes = new Uint8Array(fields.reduce((sum, field) => sum + pad4(field.length), 0));
  let offset = 0;
  for (const field of fields) {
    bytes.set(field, offset);
    offset += pad4(field.length);
  }
  return bytes;
}

function writeElement(list: AttributeWriter, element: SetElement, withData: boolean): void {
  const { key, data, comment } = element;
  list.nested(NFTA_LIST_ELEM, (inner) => {
    inner.nested(NFTA_ELEMENT.KEY, (value) => value.bytes(NFTA_DATA.VALUE, joined(key)));
    if (!withData) return;
    if (data) {
      inner.nested(NFTA_ELEMENT.DATA, (value) => {
        if ('code' in data) value.nested(NFTA_DATA.VERDICT, (verdict) => writeVerdict(verdict, data));
        else value.bytes(NFTA_DATA.VALUE, joined(data));
      });
    }
    if (comment !== undefined) inner.bytes(NFTA_ELEMENT.USERDATA, commentData(comment));
  });
}

/** nft(8)'s own user data: type 0 is a comment, its length a byte, NUL-terminated. */
function commentData(comment: string): Uint8Array {
  const text = Buffer.from(comment).subarray(0, COMMENT_BYTES);
  return Buffer.concat([Uint8Array.of(0, text.length + 1), text, Uint8Array.of(0)]);
}

/** nft(8)'s own user data: types 0 and 1 hold the byte order of keys and data; 1 is host order, 2 network order. */
function byteOrderHints(key: readonly FieldType[], data: SetDefinition['data']): Uint8Array {
  const hints = [0, 4, key.length === 1 && key[0]!.hostOrder ? 1 : 2, 0, 0, 0];
  if (Array.isArray(data)) hints.push(1, 4, 2, 0, 0, 0);
  return Uint8Array.from(hints);
}
