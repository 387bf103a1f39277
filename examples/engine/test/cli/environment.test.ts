/** What the configuration file and the environment add to requests; the stock CLI, where it is installed, is held to it too. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { docker, tare } from './drive.ts';
import { machine } from './machine.ts';
import { startPeer, type Peer, type Seen } from './peer.ts';

const stock = componentPath(COMPONENTS.docker);
/** What is below is as it was in version 28. */
const recent =
  stock !== undefined && / 2[89]\./.test(execFileSync(stock, ['--version'], { encoding: 'utf8' }));
const clients = [
  ['tare', tare],
  ...(recent
    ? [
        [
          'docker',
          (host: string, args: readonly string[], options: object) => docker(stock!, host, args, options),
        ] as const,
      ]
    : []),
] as const;

let folder: string;
let peer: Peer;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tare-config-'));
  peer = await startPeer(machine());
});
afterEach(async () => {
  await peer[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

describe.each(clients)('the environment of %s', (name, client) => {
  /** Runs a command with a configuration file and variables. @returns the requests */
  async function requests(
    args: readonly string[],
    { config = {}, env = {} }: { config?: object; env?: Record<string, string> } = {},
  ): Promise<Seen[]> {
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
    await client(peer.host, args, { env: { DOCKER_CONFIG: folder, ...env } });
    return peer.seen.splice(0);
  }
  const envOfContainer = (seen: readonly Seen[]): string[] =>
    (
      JSON.parse(seen.find(({ target }) => target.startsWith('/containers/create'))!.body) as {
        Env: string[];
      }
    ).Env;

  it('gives containers the proxies of the configuration, unless they bring their own', async () => {
    const proxies = {
      default: { httpProxy: 'http://p:1', noProxy: 'x' },
      [peer.host]: { httpsProxy: 'http://q:2' },
    };
    const create = ['create', '-e', 'A=b', 'busybox'];
    expect(envOfContainer(await requests(create, { config: { proxies } })).toSorted()).toEqual([
      'A=b',
      'HTTPS_PROXY=http://q:2',
      'https_proxy=http://q:2',
    ]);
    const { default: fallback } = proxies;
    const own = ['create', '-e', 'HTTP_PROXY=http://own:3', 'busybox'];
    const env = envOfContainer(await requests(own, { config: { proxies: { default: fallback } } }));
    expect(env.toSorted()).toEqual([
      'HTTP_PROXY=http://own:3',
      'NO_PROXY=x',
      'http_proxy=http://p:1',
      'no_proxy=x',
    ]);
  });

  it('sends the headers of the configuration, or those of DOCKER_CUSTOM_HEADERS instead', async () => {
    const config = { HttpHeaders: { 'X-File': 'one' } };
    const [fromFile] = await requests(['ps'], { config });
    expect(fromFile!.headers).toMatchObject({ 'x-file': 'one' });
    const [fromVariable] = await requests(['ps'], {
      config,
      env: { DOCKER_CUSTOM_HEADERS: 'X-One=1,X-Two=2' },
    });
    expect(fromVariable!.headers).toMatchObject({ 'x-one': '1', 'x-two': '2' });
    expect(fromVariable!.headers).not.toHaveProperty('x-file');
  });

  // since 28.3
  it.skipIf(name === 'docker')(
    'takes credentials from DOCKER_AUTH_CONFIG before those of the file',
    async () => {
      const auths = (user: string) => ({
        auths: { 'registry.example:5000': { auth: Buffer.from(`${user}:secret`).toString('base64') } },
      });
      const userOf = (seen: readonly Seen[]): unknown => {
        const header = seen.find(({ target }) => target.startsWith('/images/create'))!.headers[
          'x-registry-auth'
        ];
        return (JSON.parse(Buffer.from(String(header), 'base64url').toString()) as { username?: string })
          .username;
      };
      const pull = ['pull', 'registry.example:5000/x'];
      const config = auths('filed');
      expect(userOf(await requests(pull, { config }))).toBe('filed');
      const env = { DOCKER_AUTH_CONFIG: JSON.stringify(auths('passing')) };
      expect(userOf(await requests(pull, { config, env }))).toBe('passing');
    },
  );

  it('formats lists as the configuration has it', async () => {
    await writeFile(join(folder, 'config.json'), JSON.stringify({ psFormat: '{{.Names}}!' }));
    const { stdout } = await client(peer.host, ['ps'], { env: { DOCKER_CONFIG: folder } });
    expect(stdout).toMatch(/^d1!$/m);
  });
});
