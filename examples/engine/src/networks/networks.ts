/**
 * Networks: the predefined three and the users' own.
 *
 * Owns the rows and asks the driver for what stands in the kernel. The default bridge is made when its first container
 * starts, so that an engine nobody uses touches no interface.
 */
import { randomBytes } from 'node:crypto';
import type { Endpoint, EndpointConfig, Network, NetworkConfig, NetworkDriver } from '@tare/netdriver';

import { conflict, EngineError, forbidden, invalid, messageOf, notFound, notImplemented } from '../errors.ts';
import type { EventBus } from '../events/event-bus.ts';
import type { Filters } from '../filters.ts';
import type { IpamPool, NetworkRecord, NetworkRow, NetworksTable } from '../state/networks-table.ts';
import { formatTime, nowNs } from '../time.ts';

/** What `POST /networks/create` asks for. */
export interface NetworkRequest {
  name: string;
  driver: string;
  internal: boolean;
  attachable: boolean;
  enableIpv6: boolean;
  ipam: { driver: string; options: Record<string, string> | null; pools: IpamPool[] };
  options: Record<string, string>;
  labels: Record<string, string>;
}

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
  driver: NetworkDriver;
  events: EventBus;
  /** Interface name of the default bridge. */
  bridgeName: string;
  /** Every endpoint that running containers have. */
  attached(): AttachedEndpoint[];
}

const OPTION_BRIDGE_NAME = 'com.docker.network.bridge.name';
const OPTION_ICC = 'com.docker.network.bridge.enable_icc';
const OPTION_MASQUERADE = 'com.docker.network.bridge.enable_ip_masquerade';
const OPTION_MTU = 'com.docker.network.driver.mtu';
/** Names that no user network may take. */
const PREDEFINED = ['bridge', 'host', 'none', 'default'];
const DEFAULT_MTU = 1500;

/** The networks of this engine. */
export class Networks implements AsyncDisposable {
  readonly #options: NetworksOptions;
  readonly #rows = new Map<string, NetworkRow>();
  /** The making of a network's bridge, while it lasts; a failed one is tried again. */
  readonly #making = new Map<string, Promise<Network>>();

  constructor(options: NetworksOptions) {
    this.#options = options;
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
            'com.docker.network.bridge.default_bridge': 'true',
            [OPTION_ICC]: 'true',
            [OPTION_MASQUERADE]: 'true',
            'com.docker.network.bridge.host_binding_ipv4': '0.0.0.0',
            [OPTION_BRIDGE_NAME]: bridgeName,
            [OPTION_MTU]: String(DEFAULT_MTU),
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
      if (record.predefined || record.driver !== 'bridge' || made) continue;
      this.#options.table.remove(record.id);
      this.#rows.delete(record.id);
    }
    const networks = [...this.#rows.values()].filter(({ made }) => made !== undefined);
    await this.#options.driver.reconcile({
      networks: networks.map(({ record, made }) => ({
        ...networkConfig(record),
        subnet: made!.subnet,
        gateway: made!.gateway,
      })),
      endpoints: this.#options.attached().map(({ networkId, endpoint, sandbox }) => ({
        networkId,
        endpoint,
        sandbox,
      })),
    });
  }

  /**
   * Takes the networks out of the kernel when nothing is attached to them: an engine that stops leaves the host as it
   * found it. They are kept on record, and {@link Networks.recover} makes them again.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#options.attached().length === 0) await this.#options.driver.destroy();
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
   * @throws {EngineError} `CONFLICT` for a taken name, `FORBIDDEN` for a predefined one or an overlapping subnet,
   *   `INVALID`, `NOT_FOUND` for an unknown driver
   */
  async create(request: NetworkRequest): Promise<{ id: string; warning: string }> {
    const record = this.#plan(request);
    this.#options.table.insert(record);
    this.#rows.set(record.id, { record, made: undefined });
    try {
      await this.#make(record);
    } catch (error) {
      this.#options.table.remove(record.id);
      this.#rows.delete(record.id);
      throw networkError(error);
    }
    this.#publish('create', record);
    return { id: record.id, warning: '' };
  }

  #plan(request: NetworkRequest): NetworkRecord {
    const { name, driver, ipam, options } = request;
    if (name.trim() === '') throw invalid('invalid network name: name is empty');
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
      throw invalid(
        `invalid network name: "${name}" includes characters other than [a-zA-Z0-9_.-], or begins with one of [_.-]`,
      );
    }
    if (PREDEFINED.includes(name)) {
      throw forbidden(`operation is not permitted on predefined ${name} network`);
    }
    if (this.#byName(name)) throw conflict(`network with name ${name} already exists`);
    if (driver !== '' && driver !== 'bridge') {
      if (driver === 'host' || driver === 'null') {
        throw forbidden(`only one instance of "${driver}" network is allowed`);
      }
      throw notFound(`plugin "${driver}" not found`);
    }
    if (request.enableIpv6) throw notImplemented('IPv6 networks are not supported by this engine yet');
    if (ipam.driver !== '' && ipam.driver !== 'default') {
      throw notFound(`plugin "${ipam.driver}" not found`);
    }
    if (ipam.pools.length > 1) {
      throw notImplemented('several subnets in one network are not supported by this engine yet');
    }
    const id = randomBytes(32).toString('hex');
    return {
      id,
      name,
      created: formatTime(nowNs()),
      driver: 'bridge',
      predefined: false,
      internal: request.internal,
      attachable: request.attachable,
      bridgeName: options[OPTION_BRIDGE_NAME] ?? `br-${id.slice(0, 12)}`,
      ipam: { ...ipam, driver: 'default' },
      options,
      labels: request.labels,
    };
  }

  #make(record: NetworkRecord): Promise<Network> {
    const row = this.#rows.get(record.id);
    if (row?.made) return Promise.resolve(row.made);
    let making = this.#making.get(record.id);
    if (!making) {
      making = this.#options.driver
        .createNetwork(networkConfig(record))
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
    await this.#options.driver.removeNetwork(record.id);
    this.#options.table.remove(record.id);
    this.#rows.delete(record.id);
    this.#publish('destroy', record);
  }

  /** Removes the users' networks that no running container is on. */
  async prune(filters: Filters, inUse: ReadonlySet<string>): Promise<string[]> {
    const until = filters.timestamp('until');
    const deleted: string[] = [];
    for (const { record } of this.#rows.values()) {
      if (record.predefined || inUse.has(record.name) || inUse.has(record.id)) continue;
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
    try {
      await this.#make(record);
      const endpoint = await this.#options.driver.attach(networkId, config, signal ? { signal } : {});
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
    await this.#options.driver.detach(networkId, endpointId);
    this.#publish('disconnect', record, containerId);
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

function networkConfig(record: NetworkRecord): NetworkConfig {
  const pool = record.ipam.pools[0];
  const flag = (name: string): boolean => record.options[name] !== 'false';
  const mtu = Number(record.options[OPTION_MTU] ?? DEFAULT_MTU);
  if (!Number.isInteger(mtu) || mtu < 0) {
    throw invalid(`invalid value for ${OPTION_MTU}: ${record.options[OPTION_MTU]}`);
  }
  return {
    id: record.id,
    bridgeName: record.bridgeName,
    ...(pool?.Subnet ? { subnet: pool.Subnet } : {}),
    ...(pool?.Gateway ? { gateway: pool.Gateway } : {}),
    ...(pool?.IPRange ? { ipRange: pool.IPRange } : {}),
    mtu: mtu === 0 ? DEFAULT_MTU : mtu,
    internal: record.internal,
    icc: flag(OPTION_ICC),
    masquerade: flag(OPTION_MASQUERADE),
  };
}

/** A driver's error in dockerd's words. */
export function networkError(error: unknown, endpoint = 'endpoint'): EngineError {
  if (error instanceof EngineError) return error;
  const { code, ip, port } = error as { code?: unknown; ip?: unknown; port?: unknown };
  const options = { cause: error };
  switch (code) {
    case 'PORT_IN_USE':
      return new EngineError(
        'SYSTEM',
        `failed to set up container networking: driver failed programming external connectivity on ${endpoint}: ` +
          `Bind for ${String(ip ?? '0.0.0.0')}:${String(port)} failed: port is already allocated`,
        options,
      );
    case 'ADDRESS_OVERLAP':
      return new EngineError(
        'FORBIDDEN',
        'invalid pool request: Pool overlaps with other one on this address space',
        options,
      );
    case 'POOL_EXHAUSTED':
      return new EngineError('FORBIDDEN', 'all predefined address pools have been fully subnetted', options);
    case 'NO_FREE_ADDRESS':
      return new EngineError('FORBIDDEN', 'no available IPv4 addresses on this network', options);
    case 'ADDRESS_IN_USE':
      return new EngineError('FORBIDDEN', 'Address already in use', options);
    case 'INVALID_CONFIG':
      return new EngineError('INVALID', messageOf(error), options);
    case 'ALREADY_EXISTS':
      return new EngineError('CONFLICT', messageOf(error), options);
    default:
      return new EngineError('SYSTEM', `failed to set up container networking: ${messageOf(error)}`, options);
  }
}
