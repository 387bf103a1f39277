/** What a caller can prove to a registry. */

/** User and password, or a token that stands for them. */
export type Credentials =
  | { username: string; password: string }
  /** A refresh token: exchanged at the token server for every access token. Docker's `identitytoken`. */
  | { identityToken: string; username?: string }
  /** An access token, sent as it is. Docker's `registrytoken`. */
  | { registryToken: string };

/** Where credentials come from: a file, a keychain, a cloud. */
export interface CredentialSource {
  /** Whether credentials differ between the repositories of one registry. Default false: asked once a registry. */
  readonly perRepository?: boolean;

  /**
   * The credentials for `registry`, or undefined to stay anonymous.
   *
   * @param registry host with an optional port, as in references; `docker.io` for Docker Hub
   * @param options.repository what they are for; absent for calls to the registry as a whole
   */
  get(
    registry: string,
    options?: { repository?: string; signal?: AbortSignal },
  ): Promise<Credentials | undefined>;
}

/** The same credentials for one registry, none for all others. */
export function credentialsFor(registry: string, credentials: Credentials): CredentialSource {
  return { get: async (asked) => (asked === registry ? credentials : undefined) };
}

/** No credentials for anyone. */
export const anonymous: CredentialSource = { get: async () => undefined };
