import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  containersAuthCredentials,
  credentialFromHelper,
  dockerConfigCredentials,
  eraseFromHelper,
  listHelper,
  storeInHelper,
} from '../../src/index.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tare-docker-config-'));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

async function configured(config: unknown) {
  const path = join(folder, 'config.json');
  await writeFile(path, typeof config === 'string' ? config : JSON.stringify(config));
  return dockerConfigCredentials({ path });
}

const base64 = (text: string) => Buffer.from(text).toString('base64');

test('reads what docker login writes', async () => {
  const source = await configured({
    auths: {
      'https://index.docker.io/v1/': { auth: base64('hub:secret') },
      'localhost:5000': { auth: base64('ann:with:colons') },
      'https://old.example/v1/': { auth: base64('old:padded\0\0') },
      'token.example': { auth: base64('00000000-0000-0000-0000-000000000000:'), identitytoken: 'refresh' },
      'bearer.example': { registrytoken: 'access' },
      'plain.example': { username: 'bob', password: 'pw' },
      'empty.example': {},
    },
  });
  expect(await source.get('docker.io')).toEqual({ username: 'hub', password: 'secret' });
  expect(await source.get('localhost:5000')).toEqual({ username: 'ann', password: 'with:colons' });
  expect(await source.get('old.example')).toEqual({ username: 'old', password: 'padded' });
  expect(await source.get('token.example')).toMatchObject({ identityToken: 'refresh' });
  expect(await source.get('bearer.example')).toEqual({ registryToken: 'access' });
  expect(await source.get('plain.example')).toEqual({ username: 'bob', password: 'pw' });
  expect(await source.get('empty.example')).toBeUndefined();
  expect(await source.get('localhost')).toBeUndefined();
  expect(await source.get('xlocalhost:5000')).toBeUndefined();
});

test('finds the file through DOCKER_CONFIG, and a missing file means no credentials', async () => {
  await configured({ auths: { 'a.example': { auth: base64('a:b') } } });
  vi.stubEnv('DOCKER_CONFIG', folder);
  expect(await dockerConfigCredentials().get('a.example')).toEqual({ username: 'a', password: 'b' });
  expect(await dockerConfigCredentials({ path: join(folder, 'none.json') }).get('a.example')).toBeUndefined();
});

test.each([['{"auths": "s3cret"}'], ['s3cret'], ['{"auths":{"a.example":{"auth":"czNjcmV0"}}}']])(
  'refuses %s without showing what is in it',
  async (config) => {
    const source = await configured(config);
    const error = await source.get('a.example').catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'INVALID_CREDENTIALS', message: expect.stringContaining(folder) });
    expect(inspect(error, { depth: 9 })).not.toMatch(/s3cret|czNjcmV0/);
  },
);

/** Installs a helper that records its arguments and input, and answers by `script`. */
async function helper(name: string, script: string): Promise<void> {
  const path = join(folder, `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  vi.stubEnv('PATH', `${folder}${delimiter}${process.env['PATH']}`);
}

test('asks the helper of the registry, else the store, and falls back to the file', async () => {
  await helper('one', 'read server; echo "{\\"Username\\":\\"$1\\",\\"Secret\\":\\"$server\\"}"');
  await helper('none', 'echo "credentials not found in native keychain"; exit 1');
  await helper('token', 'echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"refresh\\"}"');
  const source = await configured({
    auths: { 'file.example': { auth: base64('file:pw') } },
    credsStore: 'none',
    credHelpers: { 'one.example': 'one', 'token.example': 'token', 'docker.io': 'one' },
  });
  expect(await source.get('one.example')).toEqual({ username: 'get', password: 'one.example' });
  expect(await source.get('token.example')).toEqual({ identityToken: 'refresh' });
  expect(await source.get('docker.io')).toEqual({ username: 'get', password: 'https://index.docker.io/v1/' });
  expect(await source.get('file.example')).toEqual({ username: 'file', password: 'pw' });
  expect(await source.get('unknown.example')).toBeUndefined();
});

test('tells when a helper is missing, fails, or talks nonsense, without repeating what it said', async () => {
  await helper('broken', 'echo s3cret; exit 3');
  await helper('nonsense', 'echo s3cret');
  for (const name of ['missing-one', 'broken', 'nonsense']) {
    const source = await configured({ credsStore: name });
    const error = await source.get('a.example').catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'INVALID_CREDENTIALS', message: expect.stringContaining(name) });
    expect(inspect(error, { depth: 9 })).not.toContain('s3cret');
  }
});

test.each(['../evil', 'a; touch /tmp/x', 'a b', '/bin/sh'])(
  'never runs a helper named %j',
  async (credsStore) => {
    const source = await configured({ credsStore });
    await expect(source.get('a.example')).rejects.toMatchObject({
      code: 'INVALID_CREDENTIALS',
      message: expect.stringContaining('not a name'),
    });
  },
);

test('stops a helper when the caller gives up', async () => {
  await helper('slow', 'exec sleep 60');
  const source = await configured({ credsStore: 'slow' });
  const reason = new Error('enough');
  const controller = new AbortController();
  const asking = source.get('a.example', { signal: controller.signal });
  setImmediate(() => controller.abort(reason));
  await expect(asking).rejects.toBe(reason);
});

test("reads podman's auth.json, then Docker's file, and gives no namespace's password to the whole registry", async () => {
  vi.stubEnv('REGISTRY_AUTH_FILE', '');
  vi.stubEnv('XDG_RUNTIME_DIR', join(folder, 'run'));
  vi.stubEnv('XDG_CONFIG_HOME', join(folder, 'none'));
  vi.stubEnv('DOCKER_CONFIG', folder);
  await configured({
    auths: { 'a.example': { auth: base64('docker:d') }, 'b.example': { auth: base64('b:b') } },
  });
  await mkdir(join(folder, 'run/containers'), { recursive: true });
  const auths = { 'a.example': { auth: base64('podman:p') }, 'c.example/team': { auth: base64('team:t') } };
  await writeFile(join(folder, 'run/containers/auth.json'), JSON.stringify({ auths }));
  const source = containersAuthCredentials();
  expect(await source.get('a.example')).toEqual({ username: 'podman', password: 'p' });
  expect(await source.get('b.example')).toEqual({ username: 'b', password: 'b' });
  expect(await source.get('c.example')).toBeUndefined();
  vi.stubEnv('REGISTRY_AUTH_FILE', join(folder, 'config.json'));
  expect(await containersAuthCredentials().get('a.example')).toEqual({ username: 'docker', password: 'd' });
});

test("gives the nearest of auth.json's entries for a repository, and none of them to its neighbours", async () => {
  const path = join(folder, 'auth.json');
  const auths = Object.fromEntries(
    ['a.example', 'a.example/team', 'a.example/team/app', 'docker.io/library', '__proto__'].map((key) => [
      key,
      { auth: base64(`${key}:p`) },
    ]),
  );
  await writeFile(path, JSON.stringify({ auths }));
  const source = containersAuthCredentials({ path });
  expect(source.perRepository).toBe(true);
  const userOf = async (registry: string, repository?: string) => {
    const found = await source.get(registry, repository === undefined ? {} : { repository });
    return found && 'username' in found ? found.username : undefined;
  };
  expect(await userOf('a.example')).toBe('a.example');
  expect(await userOf('a.example', 'teamster')).toBe('a.example');
  expect(await userOf('a.example', 'team')).toBe('a.example/team');
  expect(await userOf('a.example', 'team/other/deep')).toBe('a.example/team');
  expect(await userOf('a.example', 'team/app')).toBe('a.example/team/app');
  expect(await userOf('a.example', 'team/app/part')).toBe('a.example/team/app');
  expect(await userOf('docker.io', 'library/alpine')).toBe('docker.io/library');
  expect(await userOf('docker.io', 'me/alpine')).toBeUndefined();
  expect(await dockerConfigCredentials({ path }).get('a.example', { repository: 'team/app' })).toEqual({
    username: 'a.example',
    password: 'p',
  });
});

test('has a helper keep, list and forget credentials, with the sign for identity tokens', async () => {
  await helper(
    'kept',
    `kept="${'${0%/*}'}/kept.json"
case "$1" in
store) cat > "$kept" ;;
get) cat "$kept" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm "$kept" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
list) echo '{"https://a.example":"ann"}' ;;
esac`,
  );
  for (const credentials of [{ username: 'ann', password: 's3cret' }, { identityToken: 'refresh' }]) {
    await storeInHelper('kept', 'a.example', credentials);
    expect(await credentialFromHelper('kept', 'a.example')).toEqual(credentials);
  }
  expect(await listHelper('kept')).toEqual({ 'https://a.example': 'ann' });
  await eraseFromHelper('kept', 'a.example');
  await eraseFromHelper('kept', 'a.example');
  expect(await credentialFromHelper('kept', 'a.example')).toBeUndefined();
  await helper('full', 'cat; exit 2');
  const failed = storeInHelper('full', 'a.example', { username: 'ann', password: 's3cret' });
  expect(inspect(await failed.catch((error: unknown) => error), { depth: 9 })).not.toContain('s3cret');
});
