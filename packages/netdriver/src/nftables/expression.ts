/**
 * The expressions that rules are made of: each loads, changes or tests registers, and one that does not match ends
 * the rule. Registers 8 to 23 hold 4 bytes each; a longer value runs on into the next ones.
 *
 * See `<linux/netfilter/nf_tables.h>`. `nft --debug=netlink list ruleset` prints what stands in the kernel.
 */

import type { AttributeWriter } from '../netlink/attributes.ts';

/** An encoded expression of a rule. */
export interface Expression {
  readonly name: string;
  /** Writes the attributes of the expression's data. */
  readonly write: (writer: AttributeWriter) => void;
}

/** The first of the 4-byte registers (`NFT_REG32_00`). */
export const REGISTER = 8;

/** Verdict codes (`NF_*`, `NFT_*`). */
const CODE = { drop: 0, accept: 1, jump: -3, goto: -4, return: -5 } as const;

/** What becomes of a packet. */
export interface Verdict {
  readonly code: keyof typeof CODE;
  /** For `jump` and `goto`. */
  readonly chain?: string;
}

const NFTA_LIST_ELEM = 1;
const NFTA_EXPR = { NAME: 1, DATA: 2 } as const;
const NFTA_DATA = { VALUE: 1, VERDICT: 2 } as const;
const NFTA_VERDICT = { CODE: 1, CHAIN: 2 } as const;
const NFTA_IMMEDIATE = { DREG: 1, DATA: 2 } as const;
const NFTA_PAYLOAD = { DREG: 1, BASE: 2, OFFSET: 3, LEN: 4 } as const;
const NFTA_META = { DREG: 1, KEY: 2, SREG: 3 } as const;
const NFTA_CT = { DREG: 1, KEY: 2 } as const;
const NFTA_CMP = { SREG: 1, OP: 2, DATA: 3 } as const;
const NFTA_BITWISE = { SREG: 1, DREG: 2, LEN: 3, MASK: 4, XOR: 5, OP: 6 } as const;
const NFTA_LOOKUP = { SET: 1, SREG: 2, DREG: 3, FLAGS: 5 } as const;
const NFT_LOOKUP_F_INV = 1;
const NFTA_FIB = { DREG: 1, RESULT: 2, FLAGS: 3 } as const;
const NFTA_NAT = { TYPE: 1, FAMILY: 2, REG_ADDR_MIN: 3, REG_PROTO_MIN: 5 } as const;

/** The register that verdicts go to (`NFT_REG_VERDICT`). */
const VERDICT_REGISTER = 0;
const META_KEY = { protocol: 1, mark: 3, iifname: 6, oifname: 7, nfproto: 15, l4proto: 16 } as const;
const CT_KEY = { state: 0, status: 2 } as const;
const PAYLOAD_BASE = { link: 0, network: 1, transport: 2 } as const;
const NAT_TYPE = { source: 0, destination: 1 } as const;
const FIB_RESULT_ADDRTYPE = 3;
const FIB_FLAG_DADDR = 2;
const BITWISE_BOOL = 0;

/** Loads bytes of the packet's link, network or transport header. */
export function payload(
  base: keyof typeof PAYLOAD_BASE,
  offset: number,
  length: number,
  register = REGISTER,
): Expression {
  return expression('payload', (w) =>
    w
      .be32(NFTA_PAYLOAD.DREG, register)
      .be32(NFTA_PAYLOAD.BASE, PAYLOAD_BASE[base])
      .be32(NFTA_PAYLOAD.OFFSET, offset)
      .be32(NFTA_PAYLOAD.LEN, length),
  );
}

/** Loads what is known about the packet beside its bytes. Interface names take four registers. */
export function meta(key: keyof typeof META_KEY, register = REGISTER): Expression {
  return expression('meta', (w) => w.be32(NFTA_META.KEY, META_KEY[key]).be32(NFTA_META.DREG, register));
}

/** Marks the packet, for rules and routing behind this one. */
export function setMark(value: number, register = REGISTER): Expression[] {
  return [
    constant(hostOrder(value), register),
    expression('meta', (w) => w.be32(NFTA_META.KEY, META_KEY.mark).be32(NFTA_META.SREG, register)),
  ];
}

/** Loads a property of the packet's connection, in host byte order. */
export function ct(key: keyof typeof CT_KEY, register = REGISTER): Expression {
  return expression('ct', (w) => w.be32(NFTA_CT.KEY, CT_KEY[key]).be32(NFTA_CT.DREG, register));
}

/** Goes on when the register equals (or `neq`: differs from) `data`. */
export function compare(op: 'eq' | 'neq', data: Uint8Array, register = REGISTER): Expression {
  return expression('cmp', (w) =>
    w
      .be32(NFTA_CMP.SREG, register)
      .be32(NFTA_CMP.OP, op === 'eq' ? 0 : 1)
      .nested(NFTA_CMP.DATA, (value) => value.bytes(NFTA_DATA.VALUE, data)),
  );
}

/** Keeps the bits of the register that `mask` has. */
export function mask(bits: Uint8Array, register = REGISTER): Expression {
  return expression('bitwise', (w) =>
    w
      .be32(NFTA_BITWISE.SREG, register)
      .be32(NFTA_BITWISE.DREG, register)
      .be32(NFTA_BITWISE.LEN, bits.length)
      .be32(NFTA_BITWISE.OP, BITWISE_BOOL)
      .nested(NFTA_BITWISE.MASK, (value) => value.bytes(NFTA_DATA.VALUE, bits))
      .nested(NFTA_BITWISE.XOR, (value) => value.bytes(NFTA_DATA.VALUE, new Uint8Array(bits.length))),
  );
}

/**
 * Looks the register up in a set, and goes on when it is there. For a map, `into` names the register that takes what
 * it maps to; `'verdict'` follows the verdict of a verdict map.
 */
export function lookup(setName: string, into?: number | 'verdict', register = REGISTER): Expression {
  return expression('lookup', (w) => {
    w.string(NFTA_LOOKUP.SET, setName).be32(NFTA_LOOKUP.SREG, register);
    if (into !== undefined) w.be32(NFTA_LOOKUP.DREG, into === 'verdict' ? VERDICT_REGISTER : into);
  });
}

/** Goes on when the register is not in a set. */
export function notIn(setName: string, register = REGISTER): Expression {
  return expression('lookup', (w) =>
    w
      .string(NFTA_LOOKUP.SET, setName)
      .be32(NFTA_LOOKUP.SREG, register)
      .be32(NFTA_LOOKUP.FLAGS, NFT_LOOKUP_F_INV),
  );
}

/** Loads the type that the routing table gives the packet's destination (2 is an address of this host). */
export function destinationType(register = REGISTER): Expression {
  return expression('fib', (w) =>
    w
      .be32(NFTA_FIB.DREG, register)
      .be32(NFTA_FIB.RESULT, FIB_RESULT_ADDRTYPE)
      .be32(NFTA_FIB.FLAGS, FIB_FLAG_DADDR),
  );
}

/** Rewrites the destination to the address and port in two registers. */
export function destinationNat(family: number, addressRegister: number, portRegister: number): Expression {
  return expression('nat', (w) =>
    w
      .be32(NFTA_NAT.TYPE, NAT_TYPE.destination)
      .be32(NFTA_NAT.FAMILY, family)
      .be32(NFTA_NAT.REG_ADDR_MIN, addressRegister)
      .be32(NFTA_NAT.REG_PROTO_MIN, portRegister),
  );
}

/** Rewrites the source to the address in a register. */
export function sourceNat(family: number, addressRegister: number): Expression {
  return expression('nat', (w) =>
    w
      .be32(NFTA_NAT.TYPE, NAT_TYPE.source)
      .be32(NFTA_NAT.FAMILY, family)
      .be32(NFTA_NAT.REG_ADDR_MIN, addressRegister),
  );
}

/** Rewrites the source to the address of the outgoing interface. */
export function masquerade(): Expression {
  return expression('masq', () => undefined);
}

/** Loads constant bytes. */
export function constant(data: Uint8Array, register = REGISTER): Expression {
  return expression('immediate', (w) =>
    w
      .be32(NFTA_IMMEDIATE.DREG, register)
      .nested(NFTA_IMMEDIATE.DATA, (value) => value.bytes(NFTA_DATA.VALUE, data)),
  );
}

/** Decides: drop, accept, or go on in another chain. */
export function verdict(value: Verdict): Expression {
  return expression('immediate', (w) =>
    w
      .be32(NFTA_IMMEDIATE.DREG, VERDICT_REGISTER)
      .nested(NFTA_IMMEDIATE.DATA, (data) => data.nested(NFTA_DATA.VERDICT, (v) => writeVerdict(v, value))),
  );
}

/** Writes a verdict's code and chain, in a rule or in a map's element. */
export function writeVerdict(writer: AttributeWriter, { code, chain }: Verdict): void {
  writer.be32(NFTA_VERDICT.CODE, CODE[code]);
  if (chain !== undefined) writer.string(NFTA_VERDICT.CHAIN, chain);
}

/** Writes the list that a rule holds. */
export function writeExpressions(writer: AttributeWriter, expressions: readonly Expression[]): void {
  for (const { name, write } of expressions) {
    writer.nested(NFTA_LIST_ELEM, (element) =>
      element.string(NFTA_EXPR.NAME, name).nested(NFTA_EXPR.DATA, write),
    );
  }
}

/** Little-endian bytes of a host-order value, as connection states and routing types are compared. */
export function hostOrder(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function expression(name: string, write: (writer: AttributeWriter) => unknown): Expression {
  return { name, write };
}
