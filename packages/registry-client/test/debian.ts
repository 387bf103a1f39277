/** Debian's docker-registry with authorization, TLS or both, on a free loopback port. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMPONENTS, componentPath, fetchComponents } from '../../../test/lab/debian.ts';
import { startServer } from '../../../test/lab/process.ts';
import { freePort } from '../../../test/lab/registry.ts';

/** Whether the registry is here; fetches it when it can be had, and prints the reason when it cannot. */
export async function hasDebianRegistry(): Promise<boolean> {
  if (componentPath(COMPONENTS.registry) === undefined) {
    for (const { component, reason } of await fetchComponents()) {
      if (component === COMPONENTS.registry) console.warn(`skipped: ${component.costs}: ${reason}`);
    }
  }
  return componentPath(COMPONENTS.registry) !== undefined;
}

export interface DebianOptions {
  /** Lines of an htpasswd file (bcrypt). */
  htpasswd?: string;
  token?: { realm: string; service: string; issuer: string; certificate: string };
  /** Files in PEM. */
  tls?: { certificate: string; key: string };
}

export async function startDebian(options: DebianOptions = {}): Promise<{ host: string } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), 'tare-debian-registry-'));
  const host = `127.0.0.1:${await freePort()}`;
  const { htpasswd, token, tls } = options;
  if (htpasswd !== undefined) await writeFile(join(folder, 'htpasswd'), htpasswd);
  const config = {
    version: '0.1',
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: join(folder, 'data') }, delete: { enabled: true } },
    http: { addr: host, ...(tls && { tls }) },
    ...(htpasswd !== undefined && { auth: { htpasswd: { realm: 'lab', path: join(folder, 'htpasswd') } } }),
    ...(token && {
      auth: {
        token: {
          realm: token.realm,
          service: token.service,
          issuer: token.issuer,
          rootcertbundle: token.certificate,
        },
      },
    }),
  };
  // YAML is a superset of JSON
  await writeFile(join(folder, 'config.yml'), JSON.stringify(config));
  const server = await startServer(
    componentPath(COMPONENTS.registry)!,
    ['serve', join(folder, 'config.yml')],
    {
      env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
      ready: () => answers(`${tls ? 'https' : 'http'}://${host}/v2/`),
    },
  );
  return {
    host,
    async [Symbol.asyncDispose]() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { agent: new Agent({ rejectUnauthorized: false }) };
    const asking = url.startsWith('https:') ? request(url, options) : httpRequest(url);
    asking.once('response', (response) => resolve(response.resume().statusCode !== undefined));
    asking.once('error', () => resolve(false)).end();
  });
}
