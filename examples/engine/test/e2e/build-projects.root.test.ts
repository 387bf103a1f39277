/** Builds as people have them: packages of Debian, a C program to scratch, a Node.js application with its dependencies. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, realpathSync } from 'node:fs';
import { copyFile, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { fetchDebianBase, makeRepository, unpackDebianBase } from '../../../../test/lab/debian-base.ts';
import { run } from '../../../../test/lab/process.ts';
import { missingForBuildx, startBuildLab, type BuildLab } from './build-lab.ts';

/** npm of the machine: with any Node.js that is installed. */
const npm = (process.env.PATH ?? '')
  .split(':')
  .map((folder) => join(folder, 'npm'))
  .filter((path) => existsSync(path))
  .map((path) => dirname(dirname(realpathSync(path))))
  .find((folder) => basename(folder) === 'npm');

const full = process.env.TARE_TEST_FULL !== undefined;
const missing =
  missingForBuildx() ??
  (full ? undefined : 'takes minutes, and 30 MB of packages of Debian: npm test -- --full does it');

describe.skipIf(missing !== undefined)(`real projects${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let here: BuildLab;
  let gateway: string;
  let server: Server;
  let base: string;
  const requests: string[] = [];
  beforeAll(async () => {
    await fetchDebianBase();
    here = await startBuildLab();
    const { lab, folder } = here;
    await unpackDebianBase(join(folder, 'base/root'));
    await makeRepository(join(folder, 'repository'));
    await writeFile(join(folder, 'base/Dockerfile'), 'FROM scratch\nCOPY root /\nCMD ["/bin/sh"]\n');
    const { code, stderr } = await here.buildx(['build', '-t', 'debian', join(folder, 'base')]);
    expect(code, stderr).toBe(0);
    // what commands reach through the network address translation of their bridge
    gateway = await lab.ok([
      'run',
      '--rm',
      lab.busybox,
      'sh',
      '-c',
      "ip route | awk '/default/ { print $3 }'",
    ]);
    server = createServer((request, response) => {
      requests.push(request.url!);
      readFile(join(folder, 'served', request.url!)).then(
        (bytes) => response.end(bytes),
        () => response.writeHead(404).end(),
      );
    });
    server.listen(0, '0.0.0.0');
    await once(server, 'listening');
    await cp(join(folder, 'repository'), join(folder, 'served/debian'), { recursive: true });
    base = `http://${gateway}:${(server.address() as AddressInfo).port}`;
  }, 300_000);
  afterAll(async () => {
    server?.close();
    await here?.[Symbol.asyncDispose]();
  });
  afterEach(() => here.expectNothingLeft());

  test(
    'apt-get installs a compiler on a Debian base, and its program goes to an empty image',
    { timeout: 400_000 },
    async () => {
      const files = {
        Dockerfile: `FROM debian AS build
ARG repository
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked <<END
set -e
echo "deb [trusted=yes] $repository ./" > /etc/apt/sources.list
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends tcc libc6-dev
END
WORKDIR /src
COPY *.c ./
RUN for f in *.c; do tcc -c $f; done && tcc -o /program *.o && /program
FROM scratch
COPY --from=build --parents /lib64/ld-linux*.so.2 /lib/*/libc.so.6 /
COPY --from=build /program /program
ENTRYPOINT ["/program"]
`,
        'main.c':
          '#include <stdio.h>\nint answer(void);\nint main(void) { printf("the answer is %d\\n", answer()); return 0; }\n',
        'answer.c': 'int answer(void) { return 42; }\n',
      };
      const arguments_ = ['--build-arg', `repository=${base}/debian`];
      const shown = await here.built(files, ...arguments_);
      expect(shown).toMatch(/Setting up tcc/);
      expect(await here.lab.ok(['run', '--rm', 'built'])).toBe('the answer is 42');
      // only what depends on the source again
      const changed = { ...files, 'answer.c': 'int answer(void) { return 43; }\n' };
      const again = await here.built(changed, ...arguments_);
      expect(again.match(/CACHED/g)!.length).toBeGreaterThanOrEqual(3);
      expect(await here.lab.ok(['run', '--rm', 'built'])).toBe('the answer is 43');
    },
  );

  test.skipIf(npm === undefined)(
    'npm ci with its cache on a mount, for a Node.js application',
    { timeout: 400_000 },
    async () => {
      const { folder, lab } = here;
      const served = join(folder, 'served/npm');
      const integrity = await publish(served, 'tiny-thing', '1.2.3', `${base}/npm`);
      const context = await here.context({
        Dockerfile: `FROM debian AS node
COPY runtime /usr/local
FROM node AS dependencies
WORKDIR /app
COPY package*.json ./
ARG registry
RUN --mount=type=cache,target=/root/.npm node /usr/local/lib/npm/bin/npm-cli.js ci --registry=$registry --no-audit --no-fund
FROM node
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY . .
USER 1000
CMD ["node", "index.js"]
`,
        '.dockerignore': 'node_modules\nDockerfile\n',
        'index.js': "console.log(`a tiny thing says ${require('tiny-thing')}`);\n",
        'package.json': JSON.stringify({
          name: 'app',
          version: '1.0.0',
          dependencies: { 'tiny-thing': '^1.0.0' },
        }),
        'package-lock.json': JSON.stringify({
          name: 'app',
          version: '1.0.0',
          lockfileVersion: 3,
          packages: {
            '': { name: 'app', version: '1.0.0', dependencies: { 'tiny-thing': '^1.0.0' } },
            'node_modules/tiny-thing': {
              version: '1.2.3',
              resolved: `${base}/npm/tiny-thing-1.2.3.tgz`,
              integrity,
            },
          },
        }),
      });
      await mkdir(join(context, 'runtime/bin'), { recursive: true });
      await copyFile(process.execPath, join(context, 'runtime/bin/node'));
      await cp(npm!, join(context, 'runtime/lib/npm'), { recursive: true });
      const build = (...args: string[]) =>
        here.buildx(
          [
            'build',
            '--progress',
            'plain',
            '-t',
            'built',
            '--build-arg',
            `registry=${base}/npm`,
            ...args,
            context,
          ],
          { timeoutMs: 180_000 },
        );
      const { code, stderr } = await build();
      expect(code, stderr).toBe(0);
      expect(await lab.ok(['run', '--rm', 'built'])).toBe('a tiny thing says hello');
      // the next installation takes the archive from the mount
      const asked = requests.filter((url) => url.endsWith('.tgz')).length;
      expect(asked).toBe(1);
      expect((await build('--no-cache-filter', 'dependencies')).code).toBe(0);
      expect(requests.filter((url) => url.endsWith('.tgz'))).toHaveLength(asked);
    },
  );
});

/** Publishes a package of one file into a folder that is served. @returns the integrity of its archive */
async function publish(folder: string, name: string, version: string, base: string): Promise<string> {
  await mkdir(join(folder, 'package'), { recursive: true });
  await writeFile(join(folder, 'package/package.json'), JSON.stringify({ name, version, main: 'index.js' }));
  await writeFile(join(folder, 'package/index.js'), "module.exports = 'hello';\n");
  const archive = join(folder, `${name}-${version}.tgz`);
  await run('tar', ['-czf', archive, '-C', folder, 'package'], {});
  const integrity = `sha512-${createHash('sha512')
    .update(await readFile(archive))
    .digest('base64')}`;
  const dist = { tarball: `${base}/${name}-${version}.tgz`, integrity };
  await writeFile(
    join(folder, name),
    JSON.stringify({
      name,
      'dist-tags': { latest: version },
      versions: { [version]: { name, version, dist } },
    }),
  );
  return integrity;
}
