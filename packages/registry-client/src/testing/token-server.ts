/** A token server inside the test's process: the GET flow with user and password, and the POST flow of OAuth 2. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Options of {@link startTokenServer}. */
export interface TokenServerOptions {
  /** Passwords by user. Default: anonymous callers get tokens too. */
  users?: Readonly<Record<string, string>>;
  /** Refresh tokens that are accepted. */
  refreshTokens?: readonly string[];
  /** Makes the token for a user (undefined when anonymous) and scopes. Default: a word that names the scopes. */
  issue?: (scopes: readonly string[], user: string | undefined, service: string) => string;
  /** What `expires_in` says, in seconds. Default 300. */
  expiresInS?: number;
  /** Sent along as `refresh_token`. */
  nextRefreshToken?: string;
}

/** A token server that runs. */
export interface TokenServer extends AsyncDisposable {
  /** Its URL, for `realm`. */
  readonly realm: string;
  /** Scopes of every request, in order. */
  readonly requests: readonly {
    method: string;
    scopes: string[];
    service: string;
    user: string | undefined;
  }[];
}

/** Starts a token server on a free loopback port. */
export async function startTokenServer(options: TokenServerOptions = {}): Promise<TokenServer> {
  const requests: { method: string; scopes: string[]; service: string; user: string | undefined }[] = [];
  const issue = options.issue ?? ((scopes) => `token-for-${scopes.join('+').replace(/[^a-z0-9]+/gi, '-')}`);

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET' } = request;
    const asked =
      method === 'POST'
        ? new URLSearchParams(
            Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>)).toString(),
          )
        : new URL(request.url ?? '/', 'http://x').searchParams;
    const scopes = asked.getAll('scope').flatMap((scope) => scope.split(' '));
    const service = asked.get('service') ?? '';
    const user = method === 'POST' ? refreshUser(asked) : basicUser(request.headers.authorization);
    requests.push({ method, scopes, service, user: user ?? undefined });
    response.setHeader('content-type', 'application/json');
    if (user === null) {
      response.statusCode = 401;
      response.end(JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'wrong user or password' }] }));
      return;
    }
    const token = issue(scopes, user, service);
    response.end(
      JSON.stringify({
        ...(method === 'POST' ? { access_token: token } : { token }),
        expires_in: options.expiresInS ?? 300,
        ...(options.nextRefreshToken && { refresh_token: options.nextRefreshToken }),
      }),
    );
  }

  /** The user, undefined for anonymous, null for a wrong password. */
  function basicUser(header: string | undefined): string | undefined | null {
    if (header === undefined) return options.users === undefined ? undefined : null;
    const [user = '', password] = Buffer.from(header.replace(/^Basic /, ''), 'base64')
      .toString()
      .split(':');
    return options.users?.[user] === password ? user : null;
  }

  function refreshUser(form: URLSearchParams): string | null {
    const token = form.get('refresh_token') ?? '';
    return form.get('grant_type') === 'refresh_token' && options.refreshTokens?.includes(token)
      ? 'refreshed'
      : null;
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    requests,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
