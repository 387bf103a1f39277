/** Netlink attributes (type, length, value; nested): a growing writer, and a reader that trusts no length. */

import { NetlinkDecodeError } from '../errors.ts';

const NESTED = 0x8000;
/** The upper two bits of an attribute's type are flags. */
const TYPE_MASK = 0x3fff;
/** Lengths are 16 bits wide, header included. */
const MAX_VALUE_BYTES = 0xffff - 4;

/**
 * Builds a message body: fixed fields first, attributes after them. Integers are little endian; the `be` methods are
 * for nf_tables and conntrack, whose integers are big endian.
 */
export class AttributeWriter {
  #bytes: Buffer;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = Buffer.alloc(capacity);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** A fixed part of the message, such as `ifinfomsg`, padded to 4 bytes. */
  raw(bytes: Uint8Array): this {
    const start = this.#grow(bytes.length);
    this.#bytes.set(bytes, start);
    return this;
  }

  bytes(type: number, value: Uint8Array): this {
    const start = this.#header(type, value.length);
    this.#bytes.set(value, start);
    return this;
  }

  /** An attribute without a value: its presence is the message. */
  flag(type: number): this {
    this.#header(type, 0);
    return this;
  }

  u8(type: number, value: number): this {
    const start = this.#header(type, 1);
    this.#bytes.writeUInt8(value, start);
    return this;
  }

  u16(type: number, value: number): this {
    const start = this.#header(type, 2);
    this.#bytes.writeUInt16LE(value, start);
    return this;
  }

  u32(type: number, value: number): this {
    const start = this.#header(type, 4);
    this.#bytes.writeUInt32LE(value >>> 0, start);
    return this;
  }

  be16(type: number, value: number): this {
    const start = this.#header(type, 2);
    this.#bytes.writeUInt16BE(value, start);
    return this;
  }

  /** Also takes negative numbers, in two's complement. */
  be32(type: number, value: number): this {
    const start = this.#header(type, 4);
    this.#bytes.writeUInt32BE(value >>> 0, start);
    return this;
  }

  be64(type: number, value: bigint): this {
    const start = this.#header(type, 8);
    this.#bytes.writeBigUInt64BE(value, start);
    return this;
  }

  /** UTF-8 with a NUL at the end. */
  string(type: number, value: string): this {
    const length = Buffer.byteLength(value) + 1;
    const start = this.#header(type, length);
    this.#bytes.write(value, start, 'utf8');
    return this;
  }

  /** Attributes inside of an attribute. */
  nested(type: number, fill: (writer: this) => void): this {
    const start = this.#grow(4);
    fill(this);
    const length = this.#length - start;
    if (length > 0xffff) {
      throw new RangeError(`nested netlink attribute ${type} holds ${length} bytes; it can hold 65535`);
    }
    this.#bytes.writeUInt16LE(length, start);
    this.#bytes.writeUInt16LE(type | NESTED, start + 2);
    return this;
  }

  /** The bytes so far. Writing on after this is allowed; the returned buffer may then change. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #header(type: number, valueLength: number): number {
    if (valueLength > MAX_VALUE_BYTES) {
      throw new RangeError(
        `netlink attribute ${type} cannot hold ${valueLength} bytes, only ${MAX_VALUE_BYTES}`,
      );
    }
    const start = this.#grow(4 + valueLength);
    this.#bytes.writeUInt16LE(4 + valueLength, start);
    this.#bytes.writeUInt16LE(type, start + 2);
    return start + 4;
  }

  /** Makes room for `length` bytes and padding, zeroed, and returns where they start. May replace the buffer. */
  #grow(length: number): number {
    const start = this.#length;
    const end = start + ((length + 3) & ~3);
    if (end > this.#bytes.length) {
      const bigger = Buffer.alloc(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(bigger, 0, 0, start);
      this.#bytes = bigger;
    }
    this.#length = end;
    return start;
  }
}

/**
 * The attributes of a received message, by type. Values are views of the received bytes; where a type occurs twice,
 * the last one wins, except in {@link Attributes.list}.
 */
export class Attributes {
  readonly #values = new Map<number, Uint8Array>();
  readonly #list: { type: number; value: Uint8Array }[] = [];

  /** @throws {NetlinkDecodeError} when an attribute's length points outside of `bytes` */
  static decode(bytes: Uint8Array): Attributes {
    const attributes = new Attributes();
    // fewer than 4 bytes at the end are padding
    for (let offset = 0; bytes.length - offset >= 4;) {
      const length = bytes[offset]! | (bytes[offset + 1]! << 8);
      const type = (bytes[offset + 2]! | (bytes[offset + 3]! << 8)) & TYPE_MASK;
      if (length < 4 || length > bytes.length - offset) {
        throw new NetlinkDecodeError(
          `netlink attribute ${type} claims ${length} of the ${bytes.length - offset} bytes there are`,
        );
      }
      const value = bytes.subarray(offset + 4, offset + length);
      attributes.#values.set(type, value);
      attributes.#list.push({ type, value });
      offset += (length + 3) & ~3;
    }
    return attributes;
  }

  /** Every attribute in the order received, repeated types included. */
  list(): readonly { type: number; value: Uint8Array }[] {
    return this.#list;
  }

  has(type: number): boolean {
    return this.#values.has(type);
  }

  bytes(type: number): Uint8Array | undefined {
    return this.#values.get(type);
  }

  u8(type: number): number | undefined {
    return this.#sized(type, 1)?.getUint8(0);
  }

  u16(type: number): number | undefined {
    return this.#sized(type, 2)?.getUint16(0, true);
  }

  u32(type: number): number | undefined {
    return this.#sized(type, 4)?.getUint32(0, true);
  }

  be16(type: number): number | undefined {
    return this.#sized(type, 2)?.getUint16(0);
  }

  be32(type: number): number | undefined {
    return this.#sized(type, 4)?.getUint32(0);
  }

  be64(type: number): bigint | undefined {
    return this.#sized(type, 8)?.getBigUint64(0);
  }

  /** Text up to the first NUL. */
  string(type: number): string | undefined {
    const value = this.#values.get(type);
    if (!value) return undefined;
    const end = value.indexOf(0);
    return Buffer.from(value.buffer, value.byteOffset, end < 0 ? value.length : end).toString('utf8');
  }

  /** The attributes inside of one; empty when it is not there. */
  nested(type: number): Attributes {
    const value = this.#values.get(type);
    return value ? Attributes.decode(value) : new Attributes();
  }

  #sized(type: number, length: number): DataView | undefined {
    const value = this.#values.get(type);
    if (!value) return undefined;
    if (value.length < length) {
      throw new NetlinkDecodeError(
        `netlink attribute ${type} holds ${value.length} bytes where ${length} belong`,
      );
    }
    return new DataView(value.buffer, value.byteOffset, value.byteLength);
  }
}
