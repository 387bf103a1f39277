/** Debian's docker-registry on a loopback port, with its data in a temporary folder. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMPONENTS, componentPath } from './debian.ts';
import { startServer } from './process.ts';

export interface LabRegistry extends AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  host: string;
  /** Where it keeps what is pushed. */
  dataFolder: string;
}

/** @throws {Error} when the component is not there; ask `componentPath(COMPONENTS.registry)` first */
export async function startDebianRegistry(): Promise<LabRegistry> {
  const program = componentPath(COMPONENTS.registry);
  if (program === undefined) throw new Error('docker-registry is not here');
  const folder = await mkdtemp(join(tmpdir(), 'reg-'));
  const host = `127.0.0.1:${await freePort()}`;
  const config = join(folder, 'config.yml');
  await writeFile(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${folder}/data}, delete: {enabled: true}}\nhttp: {addr: "${host}"}\n`,
  );
  const server = await startServer(program, ['serve', config], {
    // its tracing would look for a collector on the network
    env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
    ready: () =>
      fetch(`http://${host}/v2/`).then(
        (response) => response.ok,
        () => false,
      ),
  });
  return {
    host,
    dataFolder: join(folder, 'data'),
    async [Symbol.asyncDispose]() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A port nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
