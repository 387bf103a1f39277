/**
 * The firewall on nf_tables: an inet table with fixed rules (`nftables/ruleset.ts`), a bridge table
 * (`nftables/guard-ruleset.ts`), and everything else as elements. The intended state is kept in memory, so that a table
 * that somebody flushed is rebuilt whole, in one transaction.
 */

import { NetdriverError, NetworkError } from './errors.ts';
import type { Firewall, FirewallEndpoint, FirewallNetwork, FirewallState } from './firewall.ts';
import { EndpointElements, networkElements, type Element } from './firewall-elements.ts';
import { watchTables } from './firewall-watch.ts';
import type { NetworkKernel } from './kernel.ts';
import { NetlinkConnection } from './netlink/connection.ts';
import type { NetlinkRequest } from './netlink/message.ts';
import { batch } from './nftables/batch.ts';
import { GUARD_SETS, guardRules } from './nftables/guard-ruleset.ts';
import {
  addChain,
  addTable,
  changeElements,
  deleteTable,
  getTable,
  HOOK,
  NFPROTO,
  PRIORITY,
  TABLE_FLAG,
  type SetElement,
  type TableId,
} from './nftables/message.ts';
import { dumpRules } from './nftables/dump.ts';
import { fixedRules, SETS, type RulesetOptions } from './nftables/ruleset.ts';
import { Gathering } from './operation-order.ts';
import { filtersBridgedPackets } from './sysctl.ts';
import type { PublishedPort } from './driver.ts';

/** Answers to table flags that the kernel does not know: OWNER came with 5.12, PERSIST with 6.9. */
const FLAGS_UNKNOWN = ['EOPNOTSUPP', 'EINVAL'];

/** Packets with this mark are let into every network: "tare" in letters. */
export const ACCEPT_MARK = 0x74617265;

/** Options of {@link createNftablesFirewall}. */
export interface NftablesFirewallOptions {
  kernel: Pick<NetworkKernel, 'openNetlink' | 'openNetlinkEvents'>;
  /** Name of the tables; two firewalls in one namespace need two names. Default `tare`. */
  tableName?: string;
  /** Default true; false leaves the tables open to other hands. */
  owned?: boolean;
  /** Default {@link ACCEPT_MARK}. */
  acceptMark?: number;
  /** Keep endpoints from passing for others, by a table of the bridge family. Default true. */
  guard?: boolean;
  /**
   * Makes a table of administrators' own, `inet <name>-user`, with a chain `forward` that packets pass before ours: drop
   * there what should not come in, mark with `acceptMark` what should. It is made when it is not there, and is removed
   * with the firewall only when it is empty. Default true.
   */
  userTable?: boolean;
}

/**
 * Makes a firewall that keeps its own tables and touches no other.
 *
 * Where the kernel can (6.9), the tables are owned by this process: nobody else may change them, `nft flush ruleset`
 * passes them by, and they stay when the process ends. Elsewhere it listens for their removal and makes them again.
 */
export function createNftablesFirewall(options: NftablesFirewallOptions): Firewall {
  return new NftablesFirewall(options);
}

class NftablesFirewall implements Firewall {
  readonly #kernel: NftablesFirewallOptions['kernel'];
  readonly #table: TableId;
  readonly #guard: TableId | undefined;
  readonly #user: TableId | undefined;
  readonly #acceptMark: number;
  readonly #networks = new Map<string, FirewallNetwork>();
  readonly #endpoints = new Map<string, EndpointElements>();
  #flags: number;
  #guarded: boolean;
  #connection: NetlinkConnection | undefined;
  #watch: Disposable | undefined;
  #stands = false;
  #tail: Promise<unknown> = Promise.resolve();
  /** Of endpoints that go: a network that is emptied takes a few transactions. */
  readonly #removals = new Gathering<Element>((elements) =>
    this.#exclusive(() => this.#change('delete', elements)),
  );

  constructor(options: NftablesFirewallOptions) {
    const { kernel, tableName = 'tare', owned = true, acceptMark = ACCEPT_MARK } = options;
    const { guard = true, userTable = true } = options;
    this.#kernel = kernel;
    this.#table = { family: NFPROTO.INET, name: tableName };
    this.#guard = guard ? { family: NFPROTO.BRIDGE, name: tableName } : undefined;
    this.#guarded = guard;
    this.#user = userTable ? { family: NFPROTO.INET, name: `${tableName}-user` } : undefined;
    this.#acceptMark = acceptMark;
    this.#flags = owned ? TABLE_FLAG.OWNER | TABLE_FLAG.PERSIST : 0;
  }

  async addNetwork(network: FirewallNetwork): Promise<void> {
    await this.#exclusive(async () => {
      this.#networks.set(network.bridgeName, network);
      await this.#orUndo(
        () => this.#change('add', networkElements(network)),
        () => this.#networks.delete(network.bridgeName),
      );
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
      const elements = new EndpointElements(endpoint);
      this.#endpoints.set(key, elements);
      await this.#orUndo(
        () => this.#change('add', elements.all()),
        () => this.#endpoints.delete(key),
      );
    });
  }

  async removeEndpoint(id: string, bridgeName: string): Promise<void> {
    const key = endpointKey(id, bridgeName);
    const elements = this.#endpoints.get(key);
    if (!elements) return;
    this.#endpoints.delete(key);
    await this.#removals.add(elements.all());
  }

  async changePorts(
    id: string,
    bridgeName: string,
    { add = [], remove = [] }: { add?: readonly PublishedPort[]; remove?: readonly PublishedPort[] },
  ): Promise<void> {
    await this.#exclusive(async () => {
      const elements = this.#endpoints.get(endpointKey(id, bridgeName));
      if (!elements)
        throw new NetworkError('NOT_FOUND', `the firewall knows no endpoint ${id} of ${bridgeName}`);
      if (remove.length > 0) await this.#change('delete', elements.remove(remove));
      if (add.length === 0) return;
      await this.#orUndo(
        () => this.#change('add', elements.add(add)),
        () => elements.remove(add),
      );
    });
  }

  async replace({ networks, endpoints }: FirewallState): Promise<void> {
    await this.#exclusive(async () => {
      this.#networks.clear();
      this.#endpoints.clear();
      for (const network of networks) this.#networks.set(network.bridgeName, network);
      for (const endpoint of endpoints) {
        this.#endpoints.set(endpointKey(endpoint.id, endpoint.bridgeName), new EndpointElements(endpoint));
      }
      await this.#rebuild();
    });
  }

  async destroy(): Promise<void> {
    this.#unwatch();
    await this.#exclusive(async () => {
      this.#networks.clear();
      this.#endpoints.clear();
      this.#stands = false;
      await this.#transact(await this.#deletions());
      await this.#removeUserTable();
    });
  }

  close(): void {
    this.#unwatch();
    this.#connection?.close();
    this.#connection = undefined;
    // whoever owns the table next may have changed it
    this.#stands = false;
  }

  /** Applies a small change; when the table is not what it should be, all of the state. */
  async #change(action: 'add' | 'delete', elements: readonly Element[]): Promise<void> {
    if (elements.length === 0) return;
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
      try {
        await this.#ensureUserTable();
        await this.#transact([
          ...(await this.#deletions()),
          addTable(this.#table, this.#flags),
          ...fixedRules(this.#table, this.#rules()),
          ...(this.#guard && this.#guarded
            ? [addTable(this.#guard, this.#flags), ...guardRules(this.#guard)]
            : []),
          ...this.#elementRequests('add', [
            ...[...this.#networks.values()].flatMap((network) => networkElements(network)),
            ...[...this.#endpoints.values()].flatMap((endpoint) => endpoint.all()),
          ]),
        ]);
        this.#stands = true;
        this.#watchUnowned();
        return;
      } catch (error) {
        if (this.#flags !== 0 && isRefusal(error, FLAGS_UNKNOWN)) this.#flags = 0;
        // a kernel without tables of the bridge family
        else if (this.#guarded && isRefusal(error, ['EAFNOSUPPORT', 'EOPNOTSUPP', 'ENOENT']))
          this.#guarded = false;
        else throw error;
      }
    }
  }

  #rules(): RulesetOptions {
    return { acceptMark: this.#acceptMark, loopback6: !filtersBridgedPackets(6) };
  }

  /** Deletions of what stands of the tables. */
  async #deletions(): Promise<NetlinkRequest[]> {
    const requests: NetlinkRequest[] = [];
    for (const table of [this.#table, this.#guard]) {
      if (table && (await this.#exists(table))) requests.push(deleteTable(table));
    }
    return requests;
  }

  async #ensureUserTable(): Promise<void> {
    const user = this.#user;
    if (!user || (await this.#exists(user))) return;
    const hook = { type: 'filter', number: HOOK.FORWARD, priority: PRIORITY.FILTER - 1 } as const;
    await this.#transact([addTable(user), addChain(user, { name: 'forward', hook })]);
  }

  async #removeUserTable(): Promise<void> {
    if (!this.#user || !(await this.#exists(this.#user))) return;
    const rules = await this.#connect().ask(dumpRules(this.#user));
    if (rules.length === 0) await this.#transact([deleteTable(this.#user)]);
  }

  async #exists(table: TableId): Promise<boolean> {
    try {
      await this.#connect().ask(getTable(table));
      return true;
    } catch (error) {
      if (isRefusal(error, ['ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP'])) return false;
      throw error;
    }
  }

  #watchUnowned(): void {
    if (this.#flags !== 0 || this.#watch) return;
    this.#watch = watchTables(this.#kernel, [this.#table, ...(this.#guard ? [this.#guard] : [])], () =>
      this.#exclusive(async () => {
        if (!this.#stands) return;
        const whole =
          (await this.#exists(this.#table)) && (!this.#guarded || (await this.#exists(this.#guard!)));
        if (!whole) await this.#rebuild();
      }),
    );
  }

  #unwatch(): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
  }

  #elementRequests(action: 'add' | 'delete', elements: readonly Element[]): NetlinkRequest[] {
    const bySet = new Map<Element['set'], SetElement[]>();
    for (const { set, element } of elements) {
      const list = bySet.get(set);
      if (list) list.push(element);
      else bySet.set(set, [element]);
    }
    return [...bySet].flatMap(([set, list]) => {
      if (set in SETS) return changeElements(this.#table, SETS[set as keyof typeof SETS].name, action, list);
      if (!this.#guard || !this.#guarded) return [];
      return changeElements(this.#guard, GUARD_SETS[set as keyof typeof GUARD_SETS].name, action, list);
    });
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

  async #orUndo(run: () => Promise<void>, undo: () => unknown): Promise<void> {
    try {
      await run();
    } catch (error) {
      undo();
      throw error;
    }
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
