/** The name servers of containers on networks of users': who is asked what, and what the answer is. */
import type { DnsServer, DnsServerOptions, DnsZone } from '@tare/netdriver';
import type { Logger } from 'pino';

import { messageOf } from '../errors.ts';
import type { Networks } from '../networks/networks.ts';
import type { NetworkRecord } from '../state/networks-table.ts';
import { endpointAddresses, hostNameServers } from './etc-files.ts';
import { parseLink } from './links.ts';
import type { ContainerStore, LiveContainer } from './store.ts';

/** What name servers are made with. */
export interface NameServersOptions {
  store: Pick<ContainerStore, 'all'>;
  networks: Pick<Networks, 'lookup'>;
  /** Opens one in a sandbox. */
  open(options: Pick<DnsServerOptions, 'sandbox' | 'zone'>): Promise<DnsServer>;
  /** Servers that are asked for containers that name none; empty for the host's. */
  servers: readonly string[];
  /** Path of a container's network namespace. */
  sandboxOf(id: string): string;
  log: Logger;
}

/** One server for each container that needs one. They end with this process, and are opened again by the next. */
export class NameServers implements AsyncDisposable {
  readonly #options: NameServersOptions;
  readonly #servers = new Map<string, Promise<DnsServer>>();

  constructor(options: NameServersOptions) {
    this.#options = options;
  }

  /** Whether a container on these networks finds others by their names: on the default bridge it does not. */
  wanted({ state, record }: LiveContainer): boolean {
    const mode = record.hostConfig.NetworkMode ?? '';
    if (mode === 'host' || mode.startsWith('container:')) return false;
    return Object.values(state.networks).some(({ networkId }) => isUserNetwork(this.#network(networkId)));
  }

  /** Opens or closes the server of a container whose sandbox is there, as its networks want it. */
  async settle(container: LiveContainer): Promise<void> {
    const { id } = container;
    if (!this.wanted(container)) {
      await this.close(id);
      return;
    }
    let server = this.#servers.get(id);
    if (!server) {
      server = this.#options.open({ sandbox: this.#options.sandboxOf(id), zone: this.#zone(container) });
      this.#servers.set(id, server);
    }
    try {
      await server;
    } catch (error) {
      this.#servers.delete(id);
      throw error;
    }
  }

  /** Closes the server of a container, before its sandbox goes. */
  async close(id: string): Promise<void> {
    const server = this.#servers.get(id);
    this.#servers.delete(id);
    if (server) await (await server)[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const id of this.#servers.keys()) {
      try {
        await this.close(id);
      } catch (error) {
        this.#options.log.error({ err: error, container: id }, `closing a name server: ${messageOf(error)}`);
      }
    }
  }

  #zone(container: LiveContainer): DnsZone {
    return {
      addresses: (name) => {
        const found = [...this.#peers(container)].filter((peer) => peer.names.has(name));
        return found.length > 0 ? found.flatMap(({ addresses }) => addresses) : undefined;
      },
      nameOf: (address) => {
        for (const { addresses, fullName } of this.#peers(container)) {
          if (addresses.includes(address)) return fullName;
        }
        return undefined;
      },
      upstreams: (name) => {
        // the resolver asks again with a search domain behind it
        if (!name.includes('.') && needsDots(container.record.hostConfig.DnsOptions)) return [];
        const networks = this.#networksOf(container);
        if (networks.length > 0 && networks.every(({ internal }) => internal)) return [];
        const asked = container.record.hostConfig.Dns ?? [];
        const own = asked.length > 0 ? asked : this.#options.servers;
        return own.length > 0
          ? own.map((address) => ({ address, from: 'sandbox' as const }))
          : hostNameServers().map((address) => ({ address, from: 'host' as const }));
      },
    };
  }

  /** Everybody on the networks of users' that a container is on, itself included. */
  *#peers(
    container: LiveContainer,
  ): Generator<{ names: Set<string>; fullName: string; addresses: string[] }> {
    for (const network of this.#networksOf(container)) {
      if (!isUserNetwork(network)) continue;
      const own = Object.values(container.state.networks).find(({ networkId }) => networkId === network.id);
      for (const { state, record, id } of this.#options.store.all()) {
        const attachment = Object.values(state.networks).find(({ networkId }) => networkId === network.id);
        if (!attachment?.endpoint || !state.running) continue;
        const short = [
          record.name,
          id.slice(0, 12),
          ...(record.config.Hostname ? [record.config.Hostname] : []),
          ...(attachment.settings.Aliases ?? []),
        ];
        for (const text of own?.settings.Links ?? []) {
          const { name, alias } = parseLink(text);
          if (name === record.name || id.startsWith(name)) short.push(alias);
        }
        const names = short.flatMap((name) => [name.toLowerCase(), `${name}.${network.name}`.toLowerCase()]);
        yield {
          names: new Set(names),
          fullName: `${record.name}.${network.name}`,
          addresses: endpointAddresses(attachment.endpoint),
        };
      }
    }
  }

  #networksOf({ state }: LiveContainer): NetworkRecord[] {
    return Object.values(state.networks).flatMap(({ networkId, endpoint }) =>
      endpoint ? (this.#network(networkId) ?? []) : [],
    );
  }

  #network(id: string): NetworkRecord | undefined {
    return id === '' ? undefined : this.#options.networks.lookup(id);
  }
}

function isUserNetwork(network: NetworkRecord | undefined): boolean {
  return network !== undefined && !network.predefined;
}

/** Whether names without dots are to be asked for with a search domain alone: `ndots` above 0. */
function needsDots(options: readonly string[] = []): boolean {
  return options.some((option) => /^ndots:[1-9]/.test(option));
}
