/** What stands in the kernel: listings of tables, chains, sets, elements and rules, and what a listing lacks. */

import { NetlinkDecodeError } from '../errors.ts';
import { Attributes, AttributeWriter } from '../netlink/attributes.ts';
import { NLM_F, type NetlinkMessage, type NetlinkRequest } from '../netlink/message.ts';
import { NFPROTO, NFT_MSG, type TableId } from './message.ts';

const NFTA_TABLE = { NAME: 1, FLAGS: 2, USE: 3, HANDLE: 4, OWNER: 7 } as const;
const NFTA_CHAIN = { TABLE: 1, HANDLE: 2, NAME: 3, HOOK: 4, POLICY: 5, USE: 6, TYPE: 7 } as const;
const NFTA_HOOK = { NUMBER: 1, PRIORITY: 2 } as const;
const NFTA_SET = { TABLE: 1, NAME: 2, FLAGS: 3, KEY_LEN: 5, DATA_TYPE: 6 } as const;
const NFTA_RULE = { TABLE: 1, CHAIN: 2, HANDLE: 3, EXPRESSIONS: 4, POSITION: 6, USERDATA: 7 } as const;
const NFTA_ELEMENTS = { TABLE: 1, SET: 2, ELEMENTS: 3 } as const;
const NFTA_ELEMENT = { KEY: 1, DATA: 2, FLAGS: 3, USERDATA: 6 } as const;
const NFTA_DATA = { VALUE: 1, VERDICT: 2 } as const;
const NFTA_VERDICT = { CODE: 1, CHAIN: 2 } as const;
const NFTA_EXPR_NAME = 1;
const NFTA_GEN_ID = 1;
const NFGENMSG_BYTES = 4;

/** A table as listed. */
export interface ListedTable extends TableId {
  flags: number;
  /** How many chains, sets and objects it has. */
  use: number;
  /** Netlink address of the socket that owns it, if one does. */
  owner: number | undefined;
}

/** A chain as listed. */
export interface ListedChain {
  family: number;
  table: string;
  name: string;
  /** Only base chains have one. */
  hook: { number: number; priority: number; type: string; policy: number } | undefined;
}

/** A set or map as listed. */
export interface ListedSet {
  family: number;
  table: string;
  name: string;
  flags: number;
  keyBytes: number;
}

/** A rule as listed. */
export interface ListedRule {
  family: number;
  table: string;
  chain: string;
  handle: bigint;
  /** Names of its expressions, in order. */
  expressions: string[];
  comment: string | undefined;
}

/** An element as listed. */
export interface ListedElement {
  key: Uint8Array;
  /** What a map maps the key to. */
  data: Uint8Array | { code: number; chain: string | undefined } | undefined;
  comment: string | undefined;
}

/** Asks for every table of a family, or with `NFPROTO.UNSPEC` of all. */
export function dumpTables(family: number = NFPROTO.UNSPEC): NetlinkRequest {
  return dump('list tables', NFT_MSG.GETTABLE, header(family));
}

/** Asks for every chain of a family, or of all. */
export function dumpChains(family: number = NFPROTO.UNSPEC): NetlinkRequest {
  return dump('list chains', NFT_MSG.GETCHAIN, header(family));
}

/** Asks for the sets and maps of a table. */
export function dumpSets(table: TableId): NetlinkRequest {
  return dump(
    `list sets of ${table.name}`,
    NFT_MSG.GETSET,
    header(table.family).string(NFTA_SET.TABLE, table.name),
  );
}

/** Asks for the rules of a table, or of one chain of it. */
export function dumpRules(table: TableId, chain?: string): NetlinkRequest {
  const body = header(table.family).string(NFTA_RULE.TABLE, table.name);
  if (chain !== undefined) body.string(NFTA_RULE.CHAIN, chain);
  return dump(`list rules of ${table.name}`, NFT_MSG.GETRULE, body);
}

/** Reads a table's message, also that of its removal; undefined for any other. */
export function decodeTable(message: NetlinkMessage): ListedTable | undefined {
  const { type } = message;
  if (type !== NFT_MSG.NEWTABLE && type !== NFT_MSG.DELTABLE) return undefined;
  const { family, attributes } = open(message);
  return {
    family,
    name: attributes.string(NFTA_TABLE.NAME) ?? '',
    flags: attributes.be32(NFTA_TABLE.FLAGS) ?? 0,
    use: attributes.be32(NFTA_TABLE.USE) ?? 0,
    owner: attributes.be32(NFTA_TABLE.OWNER),
  };
}

/** Reads a chain's message; undefined for any other. */
export function decodeChain(message: NetlinkMessage): ListedChain | undefined {
  if (message.type !== NFT_MSG.NEWCHAIN && message.type !== NFT_MSG.DELCHAIN) return undefined;
  const { family, attributes } = open(message);
  const hook = attributes.has(NFTA_CHAIN.HOOK) ? attributes.nested(NFTA_CHAIN.HOOK) : undefined;
  return {
    family,
    table: attributes.string(NFTA_CHAIN.TABLE) ?? '',
    name: attributes.string(NFTA_CHAIN.NAME) ?? '',
    hook: hook && {
      number: hook.be32(NFTA_HOOK.NUMBER) ?? 0,
      priority: (hook.be32(NFTA_HOOK.PRIORITY) ?? 0) | 0,
      type: attributes.string(NFTA_CHAIN.TYPE) ?? '',
      policy: attributes.be32(NFTA_CHAIN.POLICY) ?? 1,
    },
  };
}

/** Reads a set's message; undefined for any other. */
export function decodeSet(message: NetlinkMessage): ListedSet | undefined {
  if (message.type !== NFT_MSG.NEWSET && message.type !== NFT_MSG.DELSET) return undefined;
  const { family, attributes } = open(message);
  return {
    family,
    table: attributes.string(NFTA_SET.TABLE) ?? '',
    name: attributes.string(NFTA_SET.NAME) ?? '',
    flags: attributes.be32(NFTA_SET.FLAGS) ?? 0,
    keyBytes: attributes.be32(NFTA_SET.KEY_LEN) ?? 0,
  };
}

/** Reads a rule's message; undefined for any other. */
export function decodeRule(message: NetlinkMessage): ListedRule | undefined {
  if (message.type !== NFT_MSG.NEWRULE && message.type !== NFT_MSG.DELRULE) return undefined;
  const { family, attributes } = open(message);
  const expressions = attributes.nested(NFTA_RULE.EXPRESSIONS).list();
  return {
    family,
    table: attributes.string(NFTA_RULE.TABLE) ?? '',
    chain: attributes.string(NFTA_RULE.CHAIN) ?? '',
    handle: attributes.be64(NFTA_RULE.HANDLE) ?? 0n,
    expressions: expressions.map(({ value }) => Attributes.decode(value).string(NFTA_EXPR_NAME) ?? ''),
    comment: commentOf(attributes.bytes(NFTA_RULE.USERDATA)),
  };
}

/** Reads the elements of one message of a listing (`dumpElements`) or of an event. */
export function decodeElements(message: NetlinkMessage): ListedElement[] {
  if (message.type !== NFT_MSG.NEWSETELEM && message.type !== NFT_MSG.DELSETELEM) return [];
  const { attributes } = open(message);
  return attributes
    .nested(NFTA_ELEMENTS.ELEMENTS)
    .list()
    .flatMap(({ value }) => {
      const element = Attributes.decode(value);
      const key = element.nested(NFTA_ELEMENT.KEY).bytes(NFTA_DATA.VALUE);
      if (!key) return [];
      const data = element.nested(NFTA_ELEMENT.DATA);
      const verdict = data.has(NFTA_DATA.VERDICT) ? data.nested(NFTA_DATA.VERDICT) : undefined;
      return {
        key,
        data: verdict
          ? { code: (verdict.be32(NFTA_VERDICT.CODE) ?? 0) | 0, chain: verdict.string(NFTA_VERDICT.CHAIN) }
          : data.bytes(NFTA_DATA.VALUE),
        comment: commentOf(element.bytes(NFTA_ELEMENT.USERDATA)),
      };
    });
}

/** Reads the answer to `getGeneration`; undefined for any other message. */
export function decodeGeneration(message: NetlinkMessage): number | undefined {
  return message.type === NFT_MSG.NEWGEN ? open(message).attributes.be32(NFTA_GEN_ID) : undefined;
}

/** What to add to and to remove from a set so that it holds what it should. */
export interface ElementDifference<Wanted> {
  missing: Wanted[];
  /** Keys that are there and should not be, or that lead elsewhere. */
  surplus: Uint8Array[];
}

/**
 * Compares elements by their encoded key and data. `encoded` tells both of a wanted element: a map's element that leads
 * elsewhere is missing and surplus.
 */
export function compareElements<Wanted>(
  wanted: readonly Wanted[],
  present: readonly ListedElement[],
  encoded: (element: Wanted) => { key: Uint8Array; data?: Uint8Array | undefined },
): ElementDifference<Wanted> {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  const rest = new Map(present.map((element) => [hex(element.key), element]));
  const missing: Wanted[] = [];
  const surplus: Uint8Array[] = [];
  for (const element of wanted) {
    const { key, data } = encoded(element);
    const found = rest.get(hex(key));
    rest.delete(hex(key));
    const same =
      found?.data instanceof Uint8Array && data ? hex(found.data) === hex(data) : found !== undefined;
    if (same) continue;
    missing.push(element);
    if (found) surplus.push(found.key);
  }
  for (const { key } of rest.values()) surplus.push(key);
  return { missing, surplus };
}

function dump(description: string, type: number, body: AttributeWriter): NetlinkRequest {
  return { description, type, flags: NLM_F.DUMP, payload: body.finish() };
}

/** `nfgenmsg`: family, version, resource. */
function header(family: number): AttributeWriter {
  return new AttributeWriter(64).raw(Uint8Array.of(family, 0, 0, 0));
}

function open({ payload }: NetlinkMessage): { family: number; attributes: Attributes } {
  if (payload.length < NFGENMSG_BYTES) {
    throw new NetlinkDecodeError(
      `nf_tables message holds ${payload.length} bytes, fewer than its ${NFGENMSG_BYTES}-byte header`,
    );
  }
  return { family: payload[0]!, attributes: Attributes.decode(payload.subarray(NFGENMSG_BYTES)) };
}

/** nft(8)'s own user data: type, length, value; type 0 is a comment, NUL-terminated. */
function commentOf(userData: Uint8Array | undefined): string | undefined {
  if (!userData) return undefined;
  for (let at = 0; at + 2 <= userData.length; at += 2 + userData[at + 1]!) {
    if (userData[at] !== 0) continue;
    const text = Buffer.from(userData.subarray(at + 2, at + 2 + userData[at + 1]!)).toString('utf8');
    return text.replace(/\0.*$/s, '');
  }
  return undefined;
}
