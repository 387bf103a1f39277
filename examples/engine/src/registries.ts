/** Registries as the engine reaches them, on the registry client. */
import { DEFAULT_REGISTRY } from '@tare/image-spec';
import type { Credentials, RegistryClient } from '@tare/registry-client';
import { loginError } from './images/registry-errors.ts';
import type { OpenRepository, RegistryAuth, SearchRegistry } from './images/remote.ts';
import type { Login } from './system/system-info.ts';

/** How a registry is known to clients that are older than its name. */
const HUB_ADDRESSES = new Set(['', 'index.docker.io', 'docker.io', 'registry-1.docker.io', 'hub.docker.com']);

/**
 * Opens repositories and checks logins.
 *
 * The client is made at the first use: its HTTP library takes longer to load than the rest of the engine.
 */
export class Registries implements AsyncDisposable {
  readonly #load: () => Promise<RegistryClient>;
  #client: Promise<RegistryClient> | undefined;

  /** @param load - makes the client; called at the first use, and at the first after {@link reload} */
  constructor(load: () => Promise<RegistryClient>) {
    this.#load = load;
  }

  readonly openRepository: OpenRepository = async (reference, { auth, ...options }) => {
    const client = await this.#open();
    const credentials = auth && toCredentials(auth);
    return client.repository(reference, { ...options, ...(credentials ? { credentials } : {}) });
  };

  readonly search: SearchRegistry = async (registry, term, { auth, ...options }) => {
    const client = await this.#open();
    const credentials = auth && toCredentials(auth);
    return client.search(registry, term, { ...options, ...(credentials ? { credentials } : {}) });
  };

  readonly login: Login = async (auth, signal) => {
    const client = await this.#open();
    const host = auth.serveraddress.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
    const credentials: Credentials = auth.identitytoken
      ? { identityToken: auth.identitytoken }
      : { username: auth.username, password: auth.password };
    try {
      await client.ping(HUB_ADDRESSES.has(host) ? DEFAULT_REGISTRY : host, { credentials, signal });
    } catch (error) {
      throw loginError(error);
    }
    return { identityToken: '' };
  };

  /** The next use makes a client anew; what the old one is at goes on to its end. */
  reload(): void {
    const old = this.#client;
    this.#client = undefined;
    void old?.then((client) => client.close()).catch(() => undefined);
  }

  #open(): Promise<RegistryClient> {
    this.#client ??= this.#load();
    return this.#client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const client = await this.#client;
    await client?.close();
  }
}

function toCredentials(auth: RegistryAuth): Credentials | undefined {
  if (auth.registryToken !== undefined) return { registryToken: auth.registryToken };
  if (auth.identityToken !== undefined) return { identityToken: auth.identityToken };
  if (auth.username === undefined) return undefined;
  return { username: auth.username, password: auth.password ?? '' };
}
