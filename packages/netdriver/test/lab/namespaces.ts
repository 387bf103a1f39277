/**
 * Network namespaces of tests: the check that a test is not in the machine's own, sandboxes, a neighbour on the "LAN",
 * and processes inside of them.
 */

import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, existsSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import {
  createNetworkNamespace,
  openNetlink,
  openNetworkNamespace,
  removeNetworkNamespace,
  writeSysctls,
} from '@tare/runtime-native/netlink';
import { describe } from 'vitest';

import type { Endpoint, Network } from '../../src/index.ts';
import {
  addAddress,
  addRoute,
  createVeth,
  decodeLink,
  deleteAddress,
  deleteLink,
  dumpLinks,
  getLink,
  NetlinkConnection,
  setLink,
} from '../../src/netlink/index.ts';
import { askTcp, askUdp, type AgentAnswer, type AgentCommand } from './agent.ts';

/** Long enough for an answer on a busy machine, short enough to wait for one that never comes. */
const SILENCE_MS = 400;
const ANSWER_MS = 5_000;

/** `describe` that is skipped, with the reason printed, unless links may be made here. */
export function describeInNamespace(name: string, body: () => void): void {
  const reason = unfit();
  if (reason === undefined) {
    describe(name, body);
    return;
  }
  console.warn(`skipped: ${name} (${reason})`);
  describe.skip(`${name} (${reason})`, body);
}

function unfit(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux';
  if (process.getuid?.() !== 0) return 'needs root';
  if (!hasOwnNamespace()) {
    return "is in the machine's own network namespace; run it with: unshare -n sh -c 'ip link set lo up; vitest run'";
  }
  return undefined;
}

/** Whether this process is in another network namespace than the machine. */
function hasOwnNamespace(): boolean {
  const own = readlinkSync('/proc/self/ns/net');
  try {
    return readlinkSync('/proc/1/ns/net') !== own;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
  }
  // the first process may not be looked at: then somebody above must have left for another one
  for (let pid = process.ppid; pid > 1;) {
    try {
      if (readlinkSync(`/proc/${pid}/ns/net`) !== own) return true;
      pid = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
      return false;
    }
  }
  return false;
}

/** Whether the kernel has ipvlan links; says so once when it has not. */
export function kernelHasIpvlan(): boolean {
  if (unfit() !== undefined) return false;
  const there = existsSync('/sys/module/ipvlan') || spawnSync('modprobe', ['ipvlan']).status === 0;
  if (!there) console.warn('skipped: ipvlan (this kernel has none; the virtual machine of test/lab/vm has)');
  return there;
}

let names = 0;

/** A name for a link, table or driver that nothing else on this machine has. */
export function uniqueName(): string {
  return `tt${process.pid.toString(36)}x${(names++).toString(36)}`;
}

/** Two-hundred-odd subnets, so that tests that run side by side do not meet. */
export function uniqueSubnet(): string {
  return `10.${100 + (process.pid % 150)}.${names++ % 256}.0/24`;
}

/** The same for IPv6. */
export function uniqueSubnet6(): string {
  return `fd00:${(process.pid & 0xffff).toString(16)}:${names++}::/64`;
}

/** The network's own address, of the family asked for. */
export function gatewayOf({ subnets }: Network, family: 4 | 6 = 4): string {
  return subnets.find(({ gateway }) => gateway?.includes(':') === (family === 6))!.gateway!;
}

/** An endpoint's address without its prefix length. */
export function addressOf({ ipv4Address, ipv6Address }: Endpoint, family: 4 | 6 = 4): string {
  return (family === 4 ? ipv4Address : ipv6Address)!.split('/')[0]!;
}

/** The namespaces and processes of one test. */
export class Lab implements AsyncDisposable {
  readonly #folder: string;
  readonly #cleanup: (() => Promise<unknown>)[] = [];
  #count = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(): Promise<Lab> {
    return new Lab(await mkdtemp(join(tmpdir(), 'tare-lab-')));
  }

  /** Runs when the test ends, the newest first. */
  defer(step: () => Promise<unknown>): void {
    this.#cleanup.push(step);
  }

  /** Path of a new network namespace. */
  async sandbox(): Promise<string> {
    const path = join(this.#folder, `sandbox-${this.#count++}`);
    await createNetworkNamespace(path);
    this.defer(() => removeNetworkNamespace(path));
    return path;
  }

  /**
   * A neighbour: a namespace on a cable to this one. With `routed` it sends everything by way of this host, as a
   * neighbour does who wants to get at the containers.
   */
  async lan(options: { routed: boolean }): Promise<Neighbour> {
    const path = await this.sandbox();
    const network = uniqueSubnet().replace(/0\/24$/, '');
    const network6 = uniqueSubnet6().replace(/\/64$/, '');
    const [hostAddress, address] = [`${network}1`, `${network}2`];
    const [hostAddress6, address6] = [`${network6}1`, `${network6}2`];
    const name = uniqueName();
    const fd = openNetworkNamespace(path);
    using host = new NetlinkConnection(openNetlink({ protocol: 'route' }));
    using far = new NetlinkConnection(openNetlink({ protocol: 'route', netns: fd }));
    try {
      const peer = { name: 'lan0', macAddress: '02:00:00:00:00:02', namespaceFd: fd };
      await host.send(createVeth({ name, mtu: 1500, group: 0, peer }));
    } finally {
      closeSync(fd);
    }
    this.defer(async () => {
      using connection = new NetlinkConnection(openNetlink({ protocol: 'route' }));
      await connection.send(deleteLink({ name }), { ignore: ['ENODEV'] });
    });
    const hostIndex = await indexOf(host, name);
    const farIndex = await indexOf(far, 'lan0');
    await host.send([
      addAddress({ linkIndex: hostIndex, address: hostAddress, prefixLength: 24 }),
      addAddress({ linkIndex: hostIndex, address: hostAddress6, prefixLength: 64 }),
    ]);
    await far.send([
      addAddress({ linkIndex: farIndex, address, prefixLength: 24 }),
      addAddress({ linkIndex: farIndex, address: address6, prefixLength: 64 }),
      setLink({ index: farIndex }, { up: true }),
    ]);
    if (options.routed) {
      await far.send(
        [hostAddress, hostAddress6].map((gateway) => addRoute({ gateway, linkIndex: farIndex })),
      );
    }
    return { path, name, hostAddress, address, hostAddress6, address6 };
  }

  /** A process inside of a namespace. */
  async agent(path: string): Promise<Agent> {
    const agent = await Agent.start(path);
    this.defer(() => agent.stop());
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const errors: unknown[] = [];
    for (const step of this.#cleanup.splice(0).reverse()) {
      await step().catch((error: unknown) => errors.push(error));
    }
    await rm(this.#folder, { recursive: true, force: true });
    if (errors.length > 0) throw new AggregateError(errors, 'the lab could not be cleared away');
  }
}

/** A namespace on a cable to this one, with the addresses of both ends. */
export interface Neighbour {
  path: string;
  /** Interface of this namespace that leads there. */
  name: string;
  hostAddress: string;
  address: string;
  hostAddress6: string;
  address6: string;
}

/** Somebody who sends and listens: from inside of a namespace, or from the host. */
export interface Peer {
  /** What a server answers over TCP, `<name> <client address>`; rejects when it does not. */
  tcp(host: string, port: number): Promise<string>;
  udp(host: string, port: number, localPort?: number): Promise<string>;
  /** Resolves when nothing answers, whether refused or not heard; rejects with the answer. */
  noTcp(host: string, port: number): Promise<void>;
  noUdp(host: string, port: number, localPort?: number): Promise<void>;
}

type Ask = (command: AgentCommand) => Promise<AgentAnswer>;

function peer(ask: Ask, name: string): Peer {
  const heard = async (command: AgentCommand): Promise<string> => {
    const { answer, error } = await ask(command);
    if (answer !== undefined) return answer;
    throw new Error(`${name}: no answer to ${JSON.stringify(command)}: ${error ?? 'silence'}`);
  };
  const silent = async (command: AgentCommand): Promise<void> => {
    const { answer } = await ask(command);
    if (answer === undefined) return;
    throw new Error(`${name}: ${JSON.stringify(command)} was answered with "${answer}"`);
  };
  return {
    tcp: (host, port) => heard({ do: 'tcp', host, port, timeoutMs: ANSWER_MS }),
    udp: (host, port, localPort) => heard(udpCommand(host, port, ANSWER_MS, localPort)),
    noTcp: (host, port) => silent({ do: 'tcp', host, port, timeoutMs: SILENCE_MS }),
    noUdp: (host, port, localPort) => silent(udpCommand(host, port, SILENCE_MS, localPort)),
  };
}

function udpCommand(host: string, port: number, timeoutMs: number, localPort?: number): AgentCommand {
  return { do: 'udp', host, port, timeoutMs, ...(localPort === undefined ? {} : { localPort }) };
}

/** This process itself. */
export const host: Peer = peer(async (command) => {
  if (command.do === 'tcp') return await askTcp(command.host, command.port, command.timeoutMs);
  if (command.do !== 'udp') throw new Error('the host of a test serves nothing');
  const socket = createSocket(command.host.includes(':') ? 'udp6' : 'udp4');
  try {
    return await askUdp(socket, command);
  } finally {
    socket.close();
  }
}, 'host');

/** A process in a namespace, which serves and asks. */
export class Agent {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #peer: Peer;

  private constructor(child: ChildProcess, answers: AsyncIterator<string>, path: string) {
    this.#child = child;
    this.#answers = answers;
    this.#peer = peer((command) => this.#ask(command), path);
  }

  static async start(path: string): Promise<Agent> {
    const script = join(import.meta.dirname, 'agent.ts');
    const child = spawn('nsenter', [`--net=${path}`, process.execPath, script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
    await lines.next();
    return new Agent(child, lines, path);
  }

  tcp: Peer['tcp'] = (...args) => this.#peer.tcp(...args);
  udp: Peer['udp'] = (...args) => this.#peer.udp(...args);
  noTcp: Peer['noTcp'] = (...args) => this.#peer.noTcp(...args);
  noUdp: Peer['noUdp'] = (...args) => this.#peer.noUdp(...args);

  /** Answers TCP connections and UDP datagrams on a port with a name. */
  async serve(name: string, port: number): Promise<void> {
    await this.#ask({ do: 'serveTcp', port, name });
    await this.#ask({ do: 'serveUdp', port, name });
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.stdin!.end();
    await once(this.#child, 'exit');
  }

  async #ask(command: AgentCommand): Promise<AgentAnswer> {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('the process in the namespace has ended');
    return JSON.parse(value) as AgentAnswer;
  }
}

/** What a file says as seen from a network namespace. */
export async function readIn(path: string, file: string): Promise<string> {
  return (await promisify(execFile)('nsenter', [`--net=${path}`, 'cat', file])).stdout;
}

/**
 * Makes a namespace send what it has for 127.0.0.1, or ::1, to a gateway, as somebody would who is after the gateway's own
 * loopback: its address gives way, and the kernel is told to let such packets out.
 */
export async function routeLoopbackTo(path: string, gateway: string): Promise<void> {
  const fd = openNetworkNamespace(path);
  try {
    await writeSysctls(fd, { 'net/ipv4/conf/all/route_localnet': '1' });
    using inside = new NetlinkConnection(openNetlink({ protocol: 'route', netns: fd }));
    const loopback = gateway.includes(':')
      ? { address: '::1', prefixLength: 128 }
      : { address: '127.0.0.1', prefixLength: 8 };
    await inside.send(deleteAddress({ linkIndex: 1, ...loopback }), { ignore: ['EADDRNOTAVAIL'] });
    const links = (await inside.ask(dumpLinks())).flatMap((message) => decodeLink(message) ?? []);
    const uplink = links.find(({ name }) => name !== 'lo')!;
    await inside.send(
      addRoute({
        destination: { ...loopback, address: loopback.address.replace('127.0.0.1', '127.0.0.0') },
        gateway,
        linkIndex: uplink.index,
      }),
    );
  } finally {
    closeSync(fd);
  }
}

async function indexOf(connection: NetlinkConnection, name: string): Promise<number> {
  const [message] = await connection.ask(getLink({ name }));
  return decodeLink(message!)!.index;
}
