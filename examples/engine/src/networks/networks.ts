/**
 * Networks: the predefined three and the users' own.
 *
 * Owns the rows and asks the driver for what stands in the kernel. The default bridge is made when its first container
 * starts, so that an engine nobody uses touches no interface.
 */
import { randomBytes } from 'node:crypto';
import type {
  DefaultRoute,
  Endpoint,
  EndpointConfig,
  Network,
  PortMapping,
  PublishedPort,
} from '@tare/netdriver';

import { forbidden, invalid, notFound } from '../errors.ts';
import type { EventBus } from '../events/event-bus.ts';
import type { Filters } from '../filters.ts';
import { runAll } from '../settle.ts';
import type { NetworkRecord, NetworkRow, NetworksTable } from '../state/networks-table.ts';
import { formatTime, nowNs } from '../time.ts';
import { OPTION } from './driver-options.ts';
import { networkKinds, type NetworkDrivers, type NetworkKind } from './drivers.ts';
import { networkError } from './network-error.ts';
import { planNetwork, type NetworkRequest } from './plan.ts';

/** One endpoint of a running container, as the containers know it. */
export interface AttachedEndpoint {
  containerId: string;
  containerName: string;
  networkId: string;
  endpoint: Endpoint;
  /** Path of the container's network namespace. */
  sandbox: string;
}

/** What the networks are made with. */
export interface NetworksOptions {
  table: NetworksTable;
  drivers: NetworkDrivers;
  events: EventBus;
  /** Interface name of the default bridge. */
  bridgeName: string;
  /** Every endpoint that running containers have. */
  attached(): AttachedEndpoint[];
}

const DEFAULT_MTU = 1500;

/** The networks of this engine. */
export class Networks implements AsyncDisposable {
  readonly #options: NetworksOptions;
  readonly #kinds: Map<string, NetworkKind>;
  readonly #rows = new Map<string, NetworkRow>();
  /** The making of a network's bridge, while it lasts; a failed one is tried again. */
  readonly #making = new Map<string, Promise<Network>>();

  constructor(options: NetworksOptions) {
    this.#options = options;
    this.#kinds = networkKinds(options.drivers);
    for (const row of options.table.list()) this.#rows.set(row.record.id, row);
    this.#addPredefined('bridge', 'bridge', options.bridgeName);
    this.#addPredefined('host', 'host', '');
    this.#addPredefined('none', 'null', '');
  }

  #addPredefined(name: string, driver: NetworkRecord['driver'], bridgeName: string): void {
    if (this.#byName(name)) return;
    const options: Record<string, string> =
      driver === 'bridge'
        ? {
            [OPTION.defaultBridge]: 'true',
            [OPTION.icc]: 'true',
            [OPTION.masquerade]: 'true',
            [OPTION.hostBinding]: '0.0.0.0',
            [OPTION.bridgeName]: bridgeName,
            [OPTION.mtu]: String(DEFAULT_MTU),
          }
        : {};
    const record: NetworkRecord = {
      id: randomBytes(32).toString('hex'),
      name,
      created: formatTime(nowNs()),
      driver,
      predefined: true,
      internal: false,
      attachable: false,
      bridgeName,
      ipam: { driver: 'default', options: null, pools: [] },
      options,
      labels: {},
    };
    this.#options.table.insert(record);
    this.#rows.set(record.id, { record, made: undefined });
  }

  #byName(name: string): NetworkRow | undefined {
    for (const row of this.#rows.values()) if (row.record.name === name) return row;
    return undefined;
  }

  /**
   * Makes the kernel match: what a dead engine left half-made goes, what running containers need is put right.
   */
  async recover(): Promise<void> {
    for (const { record, made } of this.#rows.values()) {
      if (record.predefined || record.configOnly || made) continue;
      this.#options.table.remove(record.id);
      this.#rows.delete(record.id);
    }
    const attached = this.#options.attached();
    await runAll(
      Array.from(this.#kinds, ([name, kind]) => async () => {
        const rows = [...this.#rows.values()].filter(({ record, made }) => record.driver === name && made);
        const ids = new Set(rows.map(({ record }) => record.id));
        await kind.reconcile(
          rows,
          attached
            .filter(({ networkId }) => ids.has(networkId))
            .map(({ networkId, endpoint, sandbox }) => ({ networkId, endpoint, sandbox })),
        );
      }),
    );
  }

  /**
   * Takes the networks out of the kernel when nothing is attached to them: an engine that stops leaves the host as it
   * found it. They are kept on record, and {@link Networks.recover} makes them again.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#options.attached().length > 0) return;
    await runAll(
      Array.from(
        this.#kinds.values(),
        ({ driver }) =>
          () =>
            driver.destroy(),
      ),
    );
  }

  /**
   * Finds a network by its full id, its name, or a unique prefix of its id.
   *
   * @throws {EngineError} `NOT_FOUND`, or `INVALID` for a prefix that fits several
   */
  find(text: string): NetworkRecord {
    const record = this.lookup(text);
    if (!record) throw notFound(`network ${text} not found`);
    return record;
  }

  /** As {@link Networks.find}, undefined when there is none. */
  lookup(text: string): NetworkRecord | undefined {
    const exact = this.#rows.get(text) ?? this.#byName(text);
    if (exact) return exact.record;
    const matches = [...this.#rows.values()].filter(
      ({ record }) => text !== '' && record.id.startsWith(text),
    );
    if (matches.length > 1) {
      throw invalid(`network ${text} is ambiguous (${matches.length} matches found based on ID prefix)`);
    }
    return matches[0]?.record;
  }

  /** What the driver made of a network; undefined before. */
  made(id: string): Network | undefined {
    return this.#rows.get(id)?.made;
  }

  list(filters: Filters): NetworkRecord[] {
    const dangling = filters.bool('dangling');
    return [...this.#rows.values()]
      .map(({ record }) => record)
      .filter(
        (record) =>
          filters.any('id', (value) => record.id.startsWith(value)) &&
          filters.any('name', (value) => record.name.includes(value)) &&
          filters.any('driver', (value) => record.driver === value) &&
          filters.any('scope', (value) => value === 'local') &&
          filters.any('type', (value) => typeMatches(value, record)) &&
          filters.matchesLabels(record.labels) &&
          (dangling === undefined ||
            (!record.predefined && this.attached(record.id).length === 0) === dangling),
      );
  }

  /** Endpoints of running containers on a network. */
  attached(id: string): AttachedEndpoint[] {
    return this.#options.attached().filter(({ networkId }) => networkId === id);
  }

  /**
   * Makes a user's network.
   *
   * @throws {EngineError} as {@link planNetwork}, and `FORBIDDEN` for an overlapping subnet
   */
  async create(request: NetworkRequest): Promise<{ id: string; warning: string }> {
    const record = planNetwork(request, {
      kinds: this.#kinds,
      byName: (name) => this.#byName(name)?.record,
    });
    this.#options.table.insert(record);
    this.#rows.set(record.id, { record, made: undefined });
    try {
      if (!record.configOnly) await this.#make(record);
    } catch (error) {
      this.#options.table.remove(record.id);
      this.#rows.delete(record.id);
      throw networkError(error);
    }
    this.#publish('create', record);
    return { id: record.id, warning: '' };
  }

  #make(record: NetworkRecord): Promise<Network> {
    const row = this.#rows.get(record.id);
    if (row?.made) return Promise.resolve(row.made);
    let making = this.#making.get(record.id);
    if (!making) {
      making = this.#kind(record)
        .create(record)
        .then((made) => {
          this.#options.table.saveMade(record.id, made);
          this.#rows.set(record.id, { record, made });
          return made;
        })
        .finally(() => this.#making.delete(record.id));
      this.#making.set(record.id, making);
    }
    return making;
  }

  /**
   * Removes a user's network.
   *
   * @throws {EngineError} `NOT_FOUND`; `FORBIDDEN` for a predefined one or one with endpoints
   */
  async remove(text: string): Promise<void> {
    const record = this.find(text);
    if (record.predefined) throw forbidden(`${record.name} is a pre-defined network and cannot be removed`);
    const users = this.attached(record.id);
    if (users.length > 0) {
      const list = users.map(
        ({ containerName, endpoint }) => `name:"${containerName}" id:"${endpoint.id.slice(0, 12)}"`,
      );
      throw forbidden(
        `error while removing network: network ${record.name} has active endpoints (${list.join(', ')})`,
      );
    }
    if (this.#isDependedOn(record))
      throw forbidden(`error while removing network: configuration network "${record.name}" is in use`);
    if (!record.configOnly) await this.#kind(record).driver.removeNetwork(record.id);
    this.#options.table.remove(record.id);
    this.#rows.delete(record.id);
    this.#publish('destroy', record);
  }

  #isDependedOn({ name, configOnly }: NetworkRecord): boolean {
    return configOnly === true && [...this.#rows.values()].some(({ record }) => record.configFrom === name);
  }

  /** Removes the users' networks that no running container is on. */
  async prune(filters: Filters, inUse: ReadonlySet<string>): Promise<string[]> {
    const until = filters.timestamp('until');
    const deleted: string[] = [];
    for (const { record } of this.#rows.values()) {
      if (record.predefined || record.configOnly || inUse.has(record.name) || inUse.has(record.id)) continue;
      if (!filters.matchesLabels(record.labels)) continue;
      if (until !== undefined && BigInt(Date.parse(record.created)) * 1_000_000n > until) continue;
      await this.remove(record.id);
      deleted.push(record.name);
    }
    return deleted;
  }

  /**
   * Attaches a sandbox, making the network's bridge when it is the first.
   *
   * @throws {EngineError} in dockerd's words, for example for a taken port
   */
  async attach(
    networkId: string,
    config: EndpointConfig,
    container: { id: string; name: string },
    signal?: AbortSignal,
  ): Promise<Endpoint> {
    const { record } = this.#rows.get(networkId) ?? {};
    if (!record) throw notFound(`network ${networkId} not found`);
    if (record.configOnly) throw forbidden('cannot create endpoint on configuration-only network');
    try {
      await this.#make(record);
      const { driver } = this.#kind(record);
      const endpoint = await driver.attach(networkId, config, signal ? { signal } : {});
      this.#publish('connect', record, container.id);
      return endpoint;
    } catch (error) {
      throw networkError(error, `endpoint ${container.name} (${config.id})`);
    }
  }

  /** Detaches; a network that is gone has no endpoints any more. */
  async detach(networkId: string, endpointId: string, containerId: string): Promise<void> {
    const { record } = this.#rows.get(networkId) ?? {};
    if (!record) return;
    await this.#kind(record).driver.detach(networkId, endpointId);
    this.#publish('disconnect', record, containerId);
  }

  /** Whether endpoints of a network publish ports on the host. */
  publishes(networkId: string): boolean {
    const { record } = this.#rows.get(networkId) ?? {};
    return record !== undefined && (this.#kinds.get(record.driver)?.publishes ?? false);
  }

  /** Whether containers have endpoints on a network: not on the two that are modes and no networks. */
  carries({ driver, configOnly }: NetworkRecord): boolean {
    return configOnly === true || this.#kinds.has(driver);
  }

  /** Makes an endpoint's network the way to everywhere else, or no longer. */
  async setDefaultRoute(networkId: string, endpointId: string, route: DefaultRoute): Promise<Endpoint> {
    return await this.#driverOf(networkId).setDefaultRoute(networkId, endpointId, route);
  }

  /**
   * Publishes ports of an endpoint.
   *
   * @throws {EngineError} in dockerd's words for a taken port
   */
  async publishPorts(
    networkId: string,
    endpointId: string,
    ports: readonly PortMapping[],
    container: { name: string },
  ): Promise<PublishedPort[]> {
    try {
      return await this.#driverOf(networkId).publish(networkId, endpointId, ports);
    } catch (error) {
      throw networkError(error, `endpoint ${container.name} (${endpointId})`);
    }
  }

  /** Takes published ports back. */
  async unpublishPorts(
    networkId: string,
    endpointId: string,
    ports: readonly PublishedPort[],
  ): Promise<void> {
    await this.#driverOf(networkId).unpublish(networkId, endpointId, ports);
  }

  #driverOf(networkId: string): NetworkKind['driver'] {
    const { record } = this.#rows.get(networkId) ?? {};
    if (!record) throw notFound(`network ${networkId} not found`);
    return this.#kind(record).driver;
  }

  #kind({ name, driver }: NetworkRecord): NetworkKind {
    const kind = this.#kinds.get(driver);
    if (!kind) throw notFound(`the driver "${driver}" of network ${name} is not there`);
    return kind;
  }

  #publish(action: string, record: NetworkRecord, container?: string): void {
    this.#options.events.publish({
      type: 'network',
      action,
      id: record.id,
      attributes: {
        name: record.name,
        type: record.driver,
        ...(container === undefined ? {} : { container }),
      },
    });
  }
}

function typeMatches(value: string, record: NetworkRecord): boolean {
  if (value !== 'builtin' && value !== 'custom') throw invalid(`invalid filter: 'type'='${value}'`);
  return (value === 'builtin') === record.predefined;
}
