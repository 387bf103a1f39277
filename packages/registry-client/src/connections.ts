/** The connections of a client: one pool for each way of reaching hosts, with their TLS, behind a proxy or not. */
import { getCACertificates } from 'node:tls';
import { Agent, EnvHttpProxyAgent, ProxyAgent, type Dispatcher } from 'undici';
import type { RegistryTls } from './certificates.ts';

/** What {@link Connections} are made with. */
export interface ConnectionsOptions {
  /** By `host[:port]`. */
  tls: Readonly<Record<string, RegistryTls>>;
  proxy: string | undefined;
  connectionsPerHost: number | undefined;
  http2: boolean;
  /** In place of pools of our own, for all hosts without `tls` whose certificates are verified. */
  dispatcher: Dispatcher | undefined;
  /** Whether the certificate of a host need not be verified. */
  unverified: (host: string) => boolean;
}

/** Opens nothing by itself; pools come into being when a host first needs them. */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #pools = new Map<string, Dispatcher>();

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** The pool for `url`. What was configured for its host holds over what is allowed for insecure ones. */
  dispatcherFor(url: URL): Dispatcher {
    const { tls, dispatcher, unverified } = this.#options;
    if (url.protocol === 'https:') {
      const own = Object.hasOwn(tls, url.host) ? tls[url.host] : undefined;
      if (own !== undefined) return this.#pool(`host ${url.host}`, connectOptions(own));
      if (unverified(url.host)) return this.#pool('unverified', { rejectUnauthorized: false });
    }
    return dispatcher ?? this.#pool('verified', {});
  }

  /** Ends all connections that are not the caller's. */
  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  #pool(key: string, connect: object): Dispatcher {
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = this.#newPool(connect);
      this.#pools.set(key, pool);
    }
    return pool;
  }

  #newPool(connect: object): Dispatcher {
    const { proxy, connectionsPerHost, http2 } = this.#options;
    const shared = {
      allowH2: http2,
      ...(connectionsPerHost !== undefined && { connections: connectionsPerHost }),
    };
    if (proxy === undefined) return new Agent({ ...shared, connect });
    if (proxy === 'environment') return new EnvHttpProxyAgent({ ...shared, connect, requestTls: connect });
    return new ProxyAgent({ ...shared, uri: proxy, requestTls: connect });
  }
}

function connectOptions({ ca, cert, key, insecure }: RegistryTls): object {
  return {
    // besides those everyone trusts, as Docker does: a registry may move to a public certificate
    ...(ca !== undefined && { ca: [...getCACertificates('default'), ...[ca].flat()] }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(insecure === true && { rejectUnauthorized: false }),
  };
}
