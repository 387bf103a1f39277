/**
 * Network devices of the host that go into a container (`linux.netDevices`): moved, renamed, up, and with the lasting
 * addresses that they had, which the kernel takes away when a device changes its namespace.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#network-devices
 */
import { closeSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';

import { RuntimeError } from './errors.ts';
import { openNetlink } from './netlink.ts';
import type { NetlinkSocket } from './netlink.ts';
import { openNetworkNamespace, writeSysctls } from './network-namespace.ts';
import type { LinuxSpec } from './spec/linux.ts';

const RTM = { NEWLINK: 16, GETLINK: 18, SETLINK: 19, NEWADDR: 20, GETADDR: 22 } as const;
const NLM = { REQUEST: 1, ACK: 4, EXCL: 0x200, CREATE: 0x400, DUMP: 0x300 } as const;
const NLMSG_ERROR = 2;
const IFLA = { IFNAME: 3, NET_NS_FD: 28 } as const;
const IFA_FLAGS = 8;
/** Addresses, local address, label, broadcast, anycast: what an address is made of. */
const IFA_KEPT = new Set([1, 2, 3, 4, 5, IFA_FLAGS]);
const IFA_F_PERMANENT = 0x80;
const IFF_UP = 1;
const AF_INET6 = 10;
const HEADER_BYTES = 16;

type Devices = NonNullable<LinuxSpec['netDevices']>;

interface Device {
  index: number;
  up: boolean;
}

/** Pads to the 4 bytes that everything in netlink is aligned to. */
const padded = (bytes: Uint8Array): Uint8Array => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);

function attribute(type: number, value: Uint8Array): Uint8Array {
  const header = Buffer.alloc(4);
  header.writeUInt16LE(4 + value.length, 0);
  header.writeUInt16LE(type, 2);
  return padded(Buffer.concat([header, value]));
}

function* attributes(bytes: Buffer): Generator<[type: number, value: Buffer]> {
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = bytes.readUInt16LE(at);
    if (length < 4) return;
    yield [bytes.readUInt16LE(at + 2) & 0x3fff, bytes.subarray(at + 4, at + length)];
    at += (length + 3) & ~3;
  }
}

/** Sends one request; the payloads of the answers. @throws {Error} with `code` when the kernel refuses */
function ask(socket: NetlinkSocket, type: number, flags: number, payload: Uint8Array): Buffer[] {
  const message = Buffer.alloc(HEADER_BYTES + payload.length);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(NLM.REQUEST | flags, 6);
  message.writeUInt32LE(1, 8);
  message.set(payload, HEADER_BYTES);
  const answers: Buffer[] = [];
  for (const datagram of socket.exchange(message)) {
    const bytes = Buffer.from(datagram.buffer, datagram.byteOffset, datagram.length);
    for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
      const length = bytes.readUInt32LE(at);
      const body = bytes.subarray(at + HEADER_BYTES, at + length);
      const kind = bytes.readUInt16LE(at + 4);
      if (kind === NLMSG_ERROR) {
        const errno = body.readInt32LE(0);
        if (errno !== 0) {
          const [code = 'UNKNOWN', reason = ''] = getSystemErrorMap().get(errno) ?? [];
          throw Object.assign(new Error(reason), { code, errno, syscall: 'sendmsg' });
        }
      } else if (kind === RTM.NEWLINK || kind === RTM.NEWADDR) {
        answers.push(body);
      }
      at += (length + 3) & ~3;
    }
  }
  return answers;
}

const nul = (name: string): Uint8Array => Buffer.from(`${name}\0`);

/** struct ifinfomsg. */
function linkHeader(index: number, flags = 0, change = 0): Uint8Array {
  const header = Buffer.alloc(16);
  header.writeInt32LE(index, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(change, 12);
  return header;
}

function findDevice(socket: NetlinkSocket, name: string): Device {
  const [link] = ask(
    socket,
    RTM.GETLINK,
    NLM.ACK,
    Buffer.concat([linkHeader(0), attribute(IFLA.IFNAME, nul(name))]),
  );
  if (!link) throw Object.assign(new Error('no such device'), { code: 'ENODEV' });
  return { index: link.readInt32LE(4), up: (link.readUInt32LE(8) & IFF_UP) !== 0 };
}

/** Requests that give a device its lasting global addresses again; the index in them is to be set. */
function addressesOf(socket: NetlinkSocket, index: number): Buffer[] {
  const found: Buffer[] = [];
  for (const address of ask(socket, RTM.GETADDR, NLM.DUMP, Buffer.alloc(8))) {
    const fields = [...attributes(address.subarray(8))];
    const flags = fields.find(([type]) => type === IFA_FLAGS)?.[1].readUInt32LE(0) ?? address[2]!;
    const global = address[3] === 0;
    if (address.readUInt32LE(4) !== index || !global || !(flags & IFA_F_PERMANENT)) continue;
    const kept = fields.filter(([type]) => IFA_KEPT.has(type));
    found.push(
      Buffer.concat([address.subarray(0, 8), ...kept.map(([type, value]) => attribute(type, value))]),
    );
  }
  return found;
}

/** A namespace that devices leave, or that they go to. */
interface End {
  fd: number;
  socket: NetlinkSocket;
}

function sendTo(from: End, to: End, index: number, newName: string): void {
  const fd = Buffer.alloc(4);
  fd.writeInt32LE(to.fd, 0);
  const target = [attribute(IFLA.NET_NS_FD, fd), attribute(IFLA.IFNAME, nul(newName))];
  ask(from.socket, RTM.SETLINK, NLM.ACK, Buffer.concat([linkHeader(index), ...target]));
}

/** Gives a device that has just come the addresses that it had; its number. */
async function settle({ socket, fd }: End, name: string, addresses: Buffer[]): Promise<number> {
  // its number may have been taken
  const { index } = findDevice(socket, name);
  if (addresses.some(([family]) => family === AF_INET6)) {
    // new namespaces may have it off, and devices in them are without addresses then
    await writeSysctls(fd, { [`net/ipv6/conf/${name}/disable_ipv6`]: '0' });
  }
  for (const address of addresses) {
    address.writeUInt32LE(index, 4);
    // the label is the old name of the device, or begins with it
    ask(socket, RTM.NEWADDR, NLM.ACK | NLM.CREATE | NLM.EXCL, withLabel(address, name));
  }
  return index;
}

function has(socket: NetlinkSocket, name: string): boolean {
  try {
    findDevice(socket, name);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENODEV') return false;
    throw error;
  }
}

/** @throws {Error} with `code`; the device is where it was */
async function move(from: End, to: End, name: string, newName: string): Promise<Device> {
  const device = findDevice(from.socket, name);
  const addresses = addressesOf(from.socket, device.index);
  // the kernel would notice only once the device is there
  if (has(to.socket, newName)) throw Object.assign(new Error('the name is taken'), { code: 'EEXIST' });
  sendTo(from, to, device.index, newName);
  try {
    return { index: await settle(to, newName, addresses), up: device.up };
  } catch (error) {
    sendTo(to, from, findDevice(to.socket, newName).index, name);
    setUp(from.socket, await settle(from, name, addresses), device.up);
    throw error;
  }
}

const IFA_LABEL = 3;

function withLabel(address: Buffer, name: string): Uint8Array {
  const fields = [...attributes(address.subarray(8))].map(([type, value]) =>
    attribute(type, type === IFA_LABEL ? nul(name) : value),
  );
  return Buffer.concat([address.subarray(0, 8), ...fields]);
}

function setUp(socket: NetlinkSocket, index: number, up: boolean): void {
  ask(socket, RTM.SETLINK, NLM.ACK, linkHeader(index, up ? IFF_UP : 0, IFF_UP));
}

/** Devices in a container's namespace, until {@link MovedDevices.keep}. Disposing of it moves them back. */
export interface MovedDevices extends AsyncDisposable {
  /** The container has them for good: when its namespace ends, the kernel decides what becomes of them. */
  keep(): void;
}

function openEnd(path: string): End & Disposable {
  const fd = openNetworkNamespace(path);
  try {
    const socket = openNetlink({ protocol: 'route', netns: fd });
    return {
      fd,
      socket,
      [Symbol.dispose]() {
        socket.close();
        closeSync(fd);
      },
    };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function moveError(name: string, newName: string, cause: unknown): RuntimeError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const field = `linux.netDevices[${JSON.stringify(name)}]`;
  const details = { cause, field, step: 'NET_DEVICE', ...(code ? { errnoCode: code } : {}) };
  const text = `${field}: cannot move ${name} to ${newName}: ${code ?? message}`;
  return new RuntimeError('SETUP_FAILED', text, details);
}

/**
 * Moves devices of this process's network namespace into that of a process.
 *
 * @throws {RuntimeError} `SETUP_FAILED` with `field`; every device is where it was
 */
export async function moveDevices(pid: number, devices: Devices): Promise<MovedDevices> {
  using ends = new DisposableStack();
  const home = ends.use(openEnd('/proc/self/ns/net'));
  const there = ends.use(openEnd(`/proc/${pid}/ns/net`));
  const moved: { name: string; newName: string; up: boolean }[] = [];
  const undo = async (): Promise<void> => {
    for (const { name, newName, up } of moved.splice(0).toReversed()) {
      const { index } = await move(there, home, newName, name);
      setUp(home.socket, index, up);
    }
  };
  for (const [name, { name: newName = name }] of Object.entries(devices)) {
    try {
      const { index, up } = await move(home, there, name, newName);
      moved.push({ name, newName, up });
      setUp(there.socket, index, true);
    } catch (error) {
      await undo();
      throw moveError(name, newName, error);
    }
  }
  const kept = ends.move();
  return {
    keep: () => {
      moved.splice(0);
      kept.dispose();
    },
    async [Symbol.asyncDispose]() {
      if (kept.disposed) return;
      await undo();
      kept.dispose();
    },
  };
}
