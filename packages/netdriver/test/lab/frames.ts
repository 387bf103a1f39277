/** A wire seen from one end: raw frames out, and what arrives. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';

import { canCompile, compileStatic } from '../../../../test/lab/programs.ts';
import { addressBytes, macBytes } from '../../src/netlink/index.ts';

/** Long enough for a frame to cross a bridge on a busy machine. */
const CROSSING_MS = 300;

const SOURCE = join(import.meta.dirname, 'frames.c');

/** Whether raw frames can be had: a small program is compiled for them. Says so once when not. */
export function canSeeFrames(): boolean {
  const there = canCompile(SOURCE);
  if (!there) console.warn('skipped: what is on the wire, frame by frame (needs gcc)');
  return there;
}

let program: Promise<Buffer> | undefined;

/** One interface of a namespace, listened to from the start. */
export class Wire implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #heard: string[] = [];

  private constructor(child: ChildProcess, folder: string) {
    this.#child = child;
    this.#folder = folder;
    createInterface(child.stdout!).on('line', (line) => this.#heard.push(line));
  }

  static async open(sandbox: string, interfaceName = 'eth0'): Promise<Wire> {
    program ??= compileStatic(SOURCE);
    const folder = await mkdtemp(join(tmpdir(), 'tare-frames-'));
    const path = join(folder, 'frames');
    await writeFile(path, await program, { mode: 0o755 });
    const child = spawn('nsenter', [`--net=${sandbox}`, path, interfaceName], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const wire = new Wire(child, folder);
    while (wire.#heard[0] !== 'ready') await setTimeout(5);
    wire.#heard.length = 0;
    return wire;
  }

  /** Sends frames, and resolves once they are where they go. */
  async send(...frames: Uint8Array[]): Promise<void> {
    for (const frame of frames) this.#child.stdin!.write(`${Buffer.from(frame).toString('hex')}\n`);
    await setTimeout(CROSSING_MS);
  }

  /** Whether a frame with these bytes in it arrived. */
  heard(bytes: Uint8Array): boolean {
    const hex = Buffer.from(bytes).toString('hex');
    return this.#heard.some((frame) => frame.includes(hex));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin!.end();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
    await rm(this.#folder, { recursive: true });
  }
}

const BROADCAST = 'ff:ff:ff:ff:ff:ff';

/** An ARP reply to everybody: `address` is at `macAddress`. */
export function gratuitousArp(macAddress: string, address: string): Uint8Array {
  const [mac, ip] = [macBytes(macAddress), addressBytes(address)];
  const head = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 2);
  return ethernet(macAddress, BROADCAST, 0x0806, [head, mac, ip, mac, ip]);
}

/** An empty UDP datagram of IPv4. */
export function ipv4(macAddress: string, to: string, source: string, destination: string): Uint8Array {
  const header = Buffer.alloc(20);
  header.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17]);
  header.set(addressBytes(source), 12);
  header.set(addressBytes(destination), 16);
  header.writeUInt16BE(checksum(header), 10);
  return ethernet(macAddress, to, 0x0800, [header, Uint8Array.of(0, 9, 0, 9, 0, 8, 0, 0)]);
}

/** An SCTP association being asked for (INIT), by way of a router at `to`. */
export function sctpInit(
  macAddress: string,
  to: string,
  source: string,
  destination: string,
  ports: { from: number; to: number },
): Uint8Array {
  // INIT: tag 1, window 64 KiB, ten streams each way, first TSN 1
  const chunk = [1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1];
  const message = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...chunk]);
  message.writeUInt16BE(ports.from, 0);
  message.writeUInt16BE(ports.to, 2);
  message.writeUInt32LE(crc32c(message), 8);
  const header = Buffer.alloc(20);
  header.set([0x45, 0, 0, 20 + message.length, 0, 0, 0, 0, 64, 132]);
  header.set(addressBytes(source), 12);
  header.set(addressBytes(destination), 16);
  header.writeUInt16BE(checksum(header), 10);
  return ethernet(macAddress, to, 0x0800, [header, message]);
}

/** RFC 9260, appendix A. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** An ICMPv6 message to all nodes. */
export function icmpv6(macAddress: string, source: string, body: Uint8Array): Uint8Array {
  const [from, to] = [addressBytes(source), addressBytes('ff02::1')];
  const pseudo = Buffer.concat([from, to, Uint8Array.of(0, 0, 0, body.length, 0, 0, 0, 58), body]);
  const message = Buffer.from(body);
  message.writeUInt16BE(checksum(pseudo), 2);
  const header = Buffer.from([0x60, 0, 0, 0, 0, body.length, 58, 255]);
  return ethernet(macAddress, '33:33:00:00:00:01', 0x86dd, [header, from, to, message]);
}

/** A router advertisement: lifetime half an hour, prefix 2001:db8:bad::/64 for addresses. */
export function routerAdvertisement(macAddress: string, source: string): Uint8Array {
  const prefix = [3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0, ...addressBytes('2001:db8:bad::')];
  return icmpv6(
    macAddress,
    source,
    Uint8Array.from([134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, ...prefix]),
  );
}

/** An unsolicited neighbour advertisement that overrides: `address` is at `macAddress`. */
export function neighbourAdvertisement(macAddress: string, source: string, address: string): Uint8Array {
  const target = [2, 1, ...macBytes(macAddress)];
  return icmpv6(
    macAddress,
    source,
    Uint8Array.from([136, 0, 0, 0, 0x20, 0, 0, 0, ...addressBytes(address), ...target]),
  );
}

function ethernet(source: string, to: string, type: number, parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([macBytes(to), macBytes(source), Uint8Array.of(type >> 8, type & 0xff), ...parts]);
}

/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
