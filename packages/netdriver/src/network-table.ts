/**
 * The networks of a driver and who is attached to them: what a driver refuses whatever its kind, and the order of its
 * operations. Those on one endpoint come one after the other, so do those that make and remove networks.
 */

import type { Endpoint, IntendedEndpoint, Network, NetworkConfig } from './driver.ts';
import { NetworkError } from './errors.ts';
import { OperationOrder } from './operation-order.ts';

/** A network of the table. */
export interface TableNetwork<Attachment extends { endpoint: Endpoint }, Config = NetworkConfig> {
  /** As asked for. */
  readonly config: Config;
  readonly network: Network;
  readonly endpoints: Map<string, Attachment>;
  /** How many endpoints are being attached. */
  pending: number;
}

/** The table. Whatever is awaited inside of an operation must not ask the same table for another one. */
export class NetworkTable<
  Attachment extends { endpoint: Endpoint },
  Open extends TableNetwork<Attachment, { id: string }>,
> {
  readonly #order = new OperationOrder();
  #networks = new Map<string, Open>();

  /** The networks that stand. */
  all(): IterableIterator<Open> {
    return this.#networks.values();
  }

  get(networkId: string): Open | undefined {
    return this.#networks.get(networkId);
  }

  /** Every attachment by its {@link endpointKey}. */
  attachments(): Map<string, Attachment> {
    const all = new Map<string, Attachment>();
    for (const { network, endpoints } of this.#networks.values()) {
      for (const [id, attachment] of endpoints) all.set(endpointKey(network.id, id), attachment);
    }
    return all;
  }

  /**
   * Makes a network, or returns the one that was made with the same settings.
   *
   * @throws {NetworkError} `ALREADY_EXISTS` when it has others
   */
  async create(
    config: Open['config'],
    same: (known: Open['config']) => boolean,
    open: () => Promise<Open>,
    signal?: AbortSignal,
  ): Promise<Network> {
    return await this.#order.run(NETWORKS, async () => {
      signal?.throwIfAborted();
      const known = this.#networks.get(config.id);
      if (known) {
        if (same(known.config)) return known.network;
        throw new NetworkError(
          'ALREADY_EXISTS',
          `network ${config.id} exists with other settings; remove it first`,
        );
      }
      const opened = await open();
      this.#networks.set(config.id, opened);
      return opened.network;
    });
  }

  /** Removes a network; it stays when `close` fails. @throws {NetworkError} `IN_USE` while endpoints are attached */
  async remove(networkId: string, close: (network: Open) => Promise<void>): Promise<void> {
    await this.#order.run(NETWORKS, async () => {
      const network = this.#networks.get(networkId);
      if (!network) return;
      const count = network.endpoints.size + network.pending;
      if (count > 0) {
        throw new NetworkError('IN_USE', `network ${networkId} has ${count} endpoints; detach them first`);
      }
      // before the first await, so that nobody attaches to it any more
      this.#networks.delete(networkId);
      try {
        await close(network);
      } catch (error) {
        this.#networks.set(networkId, network);
        throw error;
      }
    });
  }

  /** Adds an endpoint. @throws {NetworkError} `NOT_FOUND`, `ALREADY_EXISTS` */
  async attach(
    networkId: string,
    endpointId: string,
    make: (network: Open) => Promise<Attachment>,
    signal?: AbortSignal,
  ): Promise<Attachment> {
    return await this.#order.run(endpointKey(networkId, endpointId), async () => {
      signal?.throwIfAborted();
      const network = this.#networks.get(networkId);
      if (!network) throw new NetworkError('NOT_FOUND', `there is no network ${networkId} to attach to`);
      if (network.endpoints.has(endpointId)) {
        throw new NetworkError(
          'ALREADY_EXISTS',
          `endpoint ${endpointId} is attached to network ${networkId} already`,
        );
      }
      network.pending++;
      try {
        const attachment = await make(network);
        network.endpoints.set(endpointId, attachment);
        return attachment;
      } finally {
        network.pending--;
      }
    });
  }

  /** Takes an endpoint out, if it is there; it stays when `undo` fails. */
  async detach(
    networkId: string,
    endpointId: string,
    undo: (network: Open, attachment: Attachment) => Promise<void>,
  ): Promise<void> {
    await this.#order.run(endpointKey(networkId, endpointId), async () => {
      const network = this.#networks.get(networkId);
      const attachment = network?.endpoints.get(endpointId);
      if (!network || !attachment) return;
      await undo(network, attachment);
      network.endpoints.delete(endpointId);
    });
  }

  /** Does something with an endpoint. @throws {NetworkError} `NOT_FOUND` */
  async on<T>(
    networkId: string,
    endpointId: string,
    run: (network: Open, attachment: Attachment) => Promise<T>,
  ): Promise<T> {
    return await this.#order.run(endpointKey(networkId, endpointId), async () => {
      const network = this.#networks.get(networkId);
      const attachment = network?.endpoints.get(endpointId);
      if (!network || !attachment) {
        throw new NetworkError('NOT_FOUND', `endpoint ${endpointId} is not attached to network ${networkId}`);
      }
      return await run(network, attachment);
    });
  }

  /** After every earlier operation and before every later one. */
  async exclusively<T>(run: () => Promise<T>): Promise<T> {
    return await this.#order.exclusively(run);
  }

  /** Forgets every network; inside of {@link exclusively}. */
  clear(): void {
    this.#networks = new Map();
  }

  /**
   * Fills the table anew, inside of {@link exclusively}. What fails is left out.
   *
   * @param adopt undefined when the sandbox of an endpoint is gone
   * @returns the failures
   */
  async refill(
    intended: { networks: readonly Open['config'][]; endpoints: readonly IntendedEndpoint[] },
    open: (config: Open['config']) => Promise<Open>,
    adopt: (network: Open, intended: IntendedEndpoint) => Promise<Attachment | undefined>,
  ): Promise<unknown[]> {
    const failures: unknown[] = [];
    for (const config of intended.networks) {
      try {
        this.#networks.set(config.id, await open(config));
      } catch (error) {
        failures.push(error);
      }
    }
    for (const wanted of intended.endpoints) {
      const { networkId, endpoint } = wanted;
      try {
        const network = this.#networks.get(networkId);
        if (!network) {
          throw new NetworkError('NOT_FOUND', `endpoint ${endpoint.id} has no network ${networkId}`);
        }
        const adopted = await adopt(network, wanted);
        if (adopted) network.endpoints.set(endpoint.id, adopted);
      } catch (error) {
        failures.push(error);
      }
    }
    return failures;
  }
}

const NETWORKS = 'networks';

/** Names an endpoint among those of all networks. */
export function endpointKey(networkId: string, endpointId: string): string {
  return JSON.stringify([networkId, endpointId]);
}

/** @throws {NetworkError} `RECONCILE_INCOMPLETE` when there are any */
export function reportFailures(failures: readonly unknown[]): void {
  if (failures.length === 0) return;
  throw new NetworkError(
    'RECONCILE_INCOMPLETE',
    `${failures.length} networks, endpoints or ports could not be restored: ${failures.map(String).join('; ')}`,
    { errors: failures, cause: failures[0] },
  );
}
