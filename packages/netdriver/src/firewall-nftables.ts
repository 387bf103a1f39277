/**
 * The firewall on nf_tables: one inet table with fixed rules (`nftables/ruleset.ts`) and everything else as elements.
 * The intended state is kept in memory, so that a table that somebody flushed is rebuilt whole, in one transaction.
 */

import type { PublishedPort } from './driver.ts';
import { NetdriverError, NetworkError } from './errors.ts';
import type { Firewall, FirewallEndpoint, FirewallNetwork, FirewallState } from './firewall.ts';
import type { NetworkKernel } from './kernel.ts';
import { NetlinkConnection } from './netlink/connection.ts';
import { addressBytes } from './netlink/ip-address.ts';
import type { NetlinkRequest } from './netlink/message.ts';
import { batch } from './nftables/batch.ts';
import {
  addTable,
  changeElements,
  deleteTable,
  getTable,
  ifnameBytes,
  NFPROTO,
  portBytes,
  TABLE_FLAG,
  type SetElement,
  type TableId,
} from './nftables/message.ts';
import { fixedRules, INTO_CHAIN, SETS } from './nftables/ruleset.ts';
import { ANY_IPV4, PROTOCOL_NUMBER } from './ports.ts';

type SetName = keyof typeof SETS;
type Elements = [set: SetName, element: SetElement][];

/** Answers to table flags that the kernel does not know: OWNER came with 5.12, PERSIST with 6.9. */
const FLAGS_UNKNOWN = ['EOPNOTSUPP', 'EINVAL'];

/**
 * Makes a firewall that keeps its own table and touches no other.
 *
 * Where the kernel can (6.9), the table is owned by this process: nobody else may change it, `nft flush ruleset` passes
 * it by, and it stays when the process ends.
 */
export function createNftablesFirewall(options: {
  kernel: Pick<NetworkKernel, 'openNetlink'>;
  /** Name of the table; two firewalls in one namespace need two names. Default `tare`. */
  tableName?: string;
  /** Default true; false leaves the table open to other hands. */
  owned?: boolean;
}): Firewall {
  return new NftablesFirewall(options);
}

class NftablesFirewall implements Firewall {
  readonly #kernel: Pick<NetworkKernel, 'openNetlink'>;
  readonly #table: TableId;
  readonly #networks = new Map<string, FirewallNetwork>();
  readonly #endpoints = new Map<string, FirewallEndpoint>();
  #flags: number;
  #connection: NetlinkConnection | undefined;
  #stands = false;
  #tail: Promise<unknown> = Promise.resolve();

  constructor({ kernel, tableName = 'tare', owned = true }: Parameters<typeof createNftablesFirewall>[0]) {
    this.#kernel = kernel;
    this.#table = { family: NFPROTO.INET, name: tableName };
    this.#flags = owned ? TABLE_FLAG.OWNER | TABLE_FLAG.PERSIST : 0;
  }

  async addNetwork(network: FirewallNetwork): Promise<void> {
    await this.#exclusive(async () => {
      this.#networks.set(network.bridgeName, network);
      try {
        await this.#change('add', networkElements(network));
      } catch (error) {
        this.#networks.delete(network.bridgeName);
        throw error;
      }
    });
  }

  async removeNetwork(bridgeName: string): Promise<void> {
    await this.#exclusive(async () => {
      const network = this.#networks.get(bridgeName);
      if (!network) return;
      this.#networks.delete(bridgeName);
      await this.#change('delete', networkElements(network));
    });
  }

  async addEndpoint(endpoint: FirewallEndpoint): Promise<void> {
    await this.#exclusive(async () => {
      const key = endpointKey(endpoint.id, endpoint.bridgeName);
      this.#endpoints.set(key, endpoint);
      try {
        await this.#change('add', endpointElements(endpoint));
      } catch (error) {
        this.#endpoints.delete(key);
        throw error;
      }
    });
  }

  async removeEndpoint(id: string, bridgeName: string): Promise<void> {
    await this.#exclusive(async () => {
      const key = endpointKey(id, bridgeName);
      const endpoint = this.#endpoints.get(key);
      if (!endpoint) return;
      this.#endpoints.delete(key);
      await this.#change('delete', endpointElements(endpoint));
    });
  }

  async replace({ networks, endpoints }: FirewallState): Promise<void> {
    await this.#exclusive(async () => {
      this.#networks.clear();
      this.#endpoints.clear();
      for (const network of networks) this.#networks.set(network.bridgeName, network);
      for (const endpoint of endpoints) {
        this.#endpoints.set(endpointKey(endpoint.id, endpoint.bridgeName), endpoint);
      }
      await this.#rebuild();
    });
  }

  async destroy(): Promise<void> {
    await this.#exclusive(async () => {
      this.#networks.clear();
      this.#endpoints.clear();
      this.#stands = false;
      if (await this.#exists()) await this.#transact([deleteTable(this.#table)]);
    });
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
    // whoever owns the table next may have changed it
    this.#stands = false;
  }

  /** Applies a small change; when the table is not what it should be, all of the state. */
  async #change(action: 'add' | 'delete', elements: Elements): Promise<void> {
    if (this.#stands) {
      try {
        await this.#transact(this.#elementRequests(action, elements));
        return;
      } catch (error) {
        // ENOENT: somebody removed the table or emptied a set; EEXIST: somebody filled one
        if (!isRefusal(error, ['ENOENT', 'EEXIST'])) throw error;
      }
    }
    await this.#rebuild();
  }

  async #rebuild(): Promise<void> {
    for (;;) {
      const elements: Elements = [
        ...[...this.#networks.values()].flatMap((network) => networkElements(network)),
        ...[...this.#endpoints.values()].flatMap((endpoint) => endpointElements(endpoint)),
      ];
      try {
        await this.#transact([
          ...((await this.#exists()) ? [deleteTable(this.#table)] : []),
          addTable(this.#table, this.#flags),
          ...fixedRules(this.#table),
          ...this.#elementRequests('add', elements),
        ]);
        this.#stands = true;
        return;
      } catch (error) {
        if (this.#flags === 0 || !isRefusal(error, FLAGS_UNKNOWN)) throw error;
        this.#flags = 0;
      }
    }
  }

  async #exists(): Promise<boolean> {
    try {
      await this.#connect().ask(getTable(this.#table));
      return true;
    } catch (error) {
      if (isRefusal(error, ['ENOENT'])) return false;
      throw error;
    }
  }

  #elementRequests(action: 'add' | 'delete', elements: Elements): NetlinkRequest[] {
    const bySet = new Map<SetName, SetElement[]>();
    for (const [set, element] of elements) {
      const list = bySet.get(set);
      if (list) list.push(element);
      else bySet.set(set, [element]);
    }
    return [...bySet].flatMap(([set, list]) => changeElements(this.#table, SETS[set].name, action, list));
  }

  async #transact(requests: readonly NetlinkRequest[]): Promise<void> {
    try {
      await this.#connect().transact(batch(requests));
    } catch (cause) {
      if (!isRefusal(cause, ['EPERM'])) throw cause;
      throw new NetworkError(
        'IN_USE',
        `nf_tables table "${this.#table.name}" cannot be changed: another running process owns it, or this one lacks CAP_NET_ADMIN`,
        { cause },
      );
    }
  }

  #connect(): NetlinkConnection {
    this.#connection ??= new NetlinkConnection(this.#kernel.openNetlink({ protocol: 'netfilter' }));
    return this.#connection;
  }

  async #exclusive(run: () => Promise<void>): Promise<void> {
    const turn = this.#tail.then(run);
    // a failure is its own caller's, not the next one's
    this.#tail = turn.catch(() => undefined);
    await turn;
  }
}

function isRefusal(error: unknown, codes: readonly string[]): boolean {
  return NetdriverError.is(error) && codes.includes(error.code);
}

function endpointKey(id: string, bridgeName: string): string {
  return `${bridgeName}/${id}`;
}

function networkElements({ bridgeName, internal, icc, masquerade }: FirewallNetwork): Elements {
  const name = ifnameBytes(bridgeName);
  const within = icc ? ({ code: 'accept' } as const) : ({ code: 'goto', chain: INTO_CHAIN } as const);
  const elements: Elements = [
    ['bridges', { key: [name] }],
    ['same', { key: [name, name] }],
    ['pairs', { key: [name, name], data: within }],
  ];
  if (internal) elements.push(['internal', { key: [name] }]);
  if (masquerade && !internal) elements.push(['masquerade', { key: [name] }]);
  return elements;
}

function endpointElements({ id: comment, bridgeName, address, ports }: FirewallEndpoint): Elements {
  const ip = addressBytes(address);
  const elements: Elements = [['endpoints4', { key: [ip, ifnameBytes(bridgeName)], comment }]];
  const open = new Map<string, PublishedPort>();
  for (const port of ports) {
    const protocol = Uint8Array.of(PROTOCOL_NUMBER[port.protocol]);
    const hostPort = portBytes(port.hostPort);
    const data = [ip, portBytes(port.containerPort)];
    elements.push(
      port.hostIp === ANY_IPV4
        ? ['published4any', { key: [protocol, hostPort], data, comment }]
        : ['published4', { key: [addressBytes(port.hostIp), protocol, hostPort], data, comment }],
    );
    open.set(`${port.protocol}/${port.containerPort}`, port);
  }
  // several host ports may lead to one container port
  for (const { protocol, containerPort } of open.values()) {
    elements.push([
      'open4',
      { key: [ip, Uint8Array.of(PROTOCOL_NUMBER[protocol]), portBytes(containerPort)], comment },
    ]);
  }
  return elements;
}
