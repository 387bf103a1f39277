import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeAuth, loadConfig, type ConfigFile } from '../../src/cli/config-file.ts';
import { tare } from './drive.ts';
import { machine } from './machine.ts';
import { startPeer } from './peer.ts';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tare-cli-config-'));
  path = join(folder, 'config.json');
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** One that nothing is wrong with. */
function load(environment: NodeJS.ProcessEnv = {}): ConfigFile {
  return loadConfig(folder, environment, (text) => expect.fail(text));
}

/** A credential helper that keeps one entry in a file, as the protocol asks. */
async function installHelper(): Promise<NodeJS.ProcessEnv> {
  const program = join(folder, 'docker-credential-shelf');
  await writeFile(
    program,
    `#!/bin/sh
case "$1" in
  store) cat > ${folder}/entry ;;
  get) cat > /dev/null; test -s ${folder}/entry || { echo "credentials not found in native keychain"; exit 1; }
       cat ${folder}/entry ;;
  erase) cat > /dev/null; rm -f ${folder}/entry ;;
esac
`,
  );
  await chmod(program, 0o755);
  return { PATH: `${folder}:${process.env['PATH']}` };
}

describe('the configuration file', () => {
  it('is empty when it is missing', async () => {
    const config = load();
    expect(config.detachKeys).toBeUndefined();
    expect(await config.credentials('docker.io')).toBeUndefined();
  });

  it('keeps credentials under the names docker uses, readable by their owner only', async () => {
    const config = load();
    await config.store('docker.io', { username: 'me', password: 'se:cret' });
    await config.store('localhost:5000', { username: 'you', password: 'x' });
    const json = JSON.parse(await readFile(path, 'utf8')) as { auths: Record<string, unknown> };
    expect(Object.keys(json.auths)).toEqual(['https://index.docker.io/v1/', 'localhost:5000']);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await load().credentials('docker.io')).toEqual({
      username: 'me',
      password: 'se:cret',
      serveraddress: 'https://index.docker.io/v1/',
    });
  });

  it('keeps what it does not know when it is written', async () => {
    await writeFile(path, JSON.stringify({ plugins: { x: { y: '1' } }, HttpHeaders: { A: 'b' } }));
    await load().store('r', { username: 'u', password: 'p' });
    expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({
      plugins: { x: { y: '1' } },
      HttpHeaders: { A: 'b' },
    });
  });

  it.each([
    ['is broken', () => writeFile(path, '{'), 'WARNING: Error parsing config file (PATH): '],
    ['cannot be read', () => mkdir(path), 'WARNING: Error loading config file: open PATH: is a directory'],
  ])('warns of a file that %s, goes on, and leaves it alone', async (_, make, warning) => {
    await make();
    const warnings: string[] = [];
    const config = loadConfig(folder, {}, (text) => warnings.push(text));
    expect(warnings).toEqual([expect.stringContaining(warning.replace('PATH', path))]);
    expect(await config.credentials('docker.io')).toBeUndefined();
    await expect(config.store('r', { username: 'u', password: 'p' })).rejects.toThrow(
      `${path} is left as it is, and nothing was saved`,
    );
  });

  it('asks a credential helper, and takes its "not found" for an answer', async () => {
    await writeFile(path, JSON.stringify({ credHelpers: { 'r.example': 'shelf' } }));
    const environment = await installHelper();
    const config = load(environment);
    expect(await config.credentials('r.example')).toBeUndefined();
    await config.store('r.example', { username: 'me', password: 'secret' });
    expect(await config.credentials('r.example')).toMatchObject({ username: 'me', password: 'secret' });
    expect(await readFile(path, 'utf8')).not.toContain('secret');
    await config.erase('r.example');
    expect(await config.credentials('r.example')).toBeUndefined();
  });

  it('names a credential helper that is missing', async () => {
    await writeFile(path, JSON.stringify({ credsStore: 'nowhere' }));
    await expect(load({ PATH: folder }).credentials('r')).rejects.toThrow('docker-credential-nowhere');
  });
});

it('encodes credentials as URL-safe base64 with padding', () => {
  expect(encodeAuth(undefined)).toBe('e30=');
  expect(Buffer.from(encodeAuth({ username: 'ÿÿ?>' }), 'base64url').toString()).toBe('{"username":"ÿÿ?>"}');
});

describe('login', () => {
  it('asks the daemon first, stores what worked, and sends it with pulls', async () => {
    const headers: string[] = [];
    await using peer = await startPeer((seen, path) => {
      if (path === 'POST /auth') {
        if (seen.body.includes('wrong')) {
          return { status: 401, json: { message: 'unauthorized: incorrect username or password' } };
        }
        return { json: { Status: 'Login Succeeded', IdentityToken: '' } };
      }
      if (path === 'POST /images/create') headers.push(seen.headers['x-registry-auth'] as string);
      return machine()(seen, path);
    });
    const env = { DOCKER_CONFIG: folder };
    const login = ['login', '-u', 'me', '--password-stdin', 'localhost:5000'];
    expect(await tare(peer.host, login, { env, input: 'wrong\n' })).toEqual({
      code: 1,
      stdout: '',
      stderr: 'Error response from daemon: unauthorized: incorrect username or password\n',
    });
    await expect(stat(path)).rejects.toThrow('ENOENT');

    const { code, stdout } = await tare(peer.host, login, { env, input: 'secret\n' });
    expect([code, stdout]).toEqual([0, 'Login Succeeded\n']);
    await tare(peer.host, ['pull', '-q', 'localhost:5000/x'], { env });
    await tare(peer.host, ['pull', '-q', 'busybox'], { env });
    expect(
      headers.map((header) => JSON.parse(Buffer.from(header, 'base64url').toString()) as unknown),
    ).toEqual([{ username: 'me', password: 'secret', serveraddress: 'localhost:5000' }, {}]);

    await tare(peer.host, ['logout', 'localhost:5000'], { env });
    expect(await readFile(path, 'utf8')).not.toContain('localhost');
  });
});
