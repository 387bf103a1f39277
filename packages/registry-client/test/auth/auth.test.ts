import type { IncomingMessage } from 'node:http';
import { inspect } from 'node:util';
import { copyGraph, MemoryContent } from '@tare/image-spec/content';
import { describe, expect, test } from 'vitest';
import { credentialsFor, type RegistryError } from '../../src/index.ts';
import { answer, startTestRegistry, startTokenServer } from '../../src/testing/index.ts';
import { addImage, chunks, collect, describeBytes, noise, quickClient } from '../support.ts';

const basic = (user: string, password: string) =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

/** A challenge for all who do not bring a token that names all of `scopes` asked for. */
function bearer(realm: () => string, token: (request: IncomingMessage) => string) {
  return (request: IncomingMessage) =>
    request.headers.authorization === `Bearer ${token(request)}`
      ? undefined
      : `Bearer realm="${realm()}",service="test",scope="repository:app:pull"`;
}

describe('basic authorization', () => {
  const challenge = (request: IncomingMessage) =>
    request.headers.authorization === basic('ann', 's3cret') ? undefined : 'Basic realm="registry"';

  test('is sent once asked for, and from then on without being asked', async () => {
    await using registry = await startTestRegistry({ challenge });
    const { manifest } = addImage(registry, 'app', 'v1');
    const credentials = credentialsFor(registry.host, { username: 'ann', password: 's3cret' });
    await using client = quickClient({ credentials });
    await copyGraph(client.repository(`${registry.host}/app`), new MemoryContent(), manifest);
    const withHeader = registry.requests.map(({ headers }) => headers.authorization !== undefined);
    // the version check, then the first request without and with
    expect(withHeader).toEqual([false, false, true, true, true]);
  });

  test('with a wrong password is UNAUTHORIZED after two requests, and nothing shows the password', async () => {
    await using registry = await startTestRegistry({ challenge });
    const credentials = credentialsFor(registry.host, { username: 'ann', password: 'wr0ng-pass' });
    await using client = quickClient({ credentials });
    const repository = client.repository(`${registry.host}/app`);
    const error = (await repository
      .fetch(describeBytes(noise(1)))
      .catch((reason: unknown) => reason)) as RegistryError;
    expect(error).toMatchObject({ code: 'UNAUTHORIZED', status: 401, errors: [{ code: 'UNAUTHORIZED' }] });
    expect(registry.log().length).toBe(2);
    for (const text of [
      inspect(error, { depth: 9 }),
      inspect(client, { depth: 9 }),
      inspect(repository, { depth: 9 }),
    ]) {
      expect(text).not.toContain('wr0ng-pass');
      expect(text).not.toContain(basic('ann', 'wr0ng-pass').slice(6));
    }
  });

  test('is not shown when the registry itself repeats it', async () => {
    await using registry = await startTestRegistry({ challenge });
    await using client = quickClient({
      credentials: credentialsFor(registry.host, { username: 'ann', password: 's3cret' }),
    });
    const echo = JSON.stringify({
      errors: [{ code: 'DENIED', message: `you sent ${basic('ann', 's3cret')} (s3cret)` }],
    });
    registry.intercept(/blobs/, answer(403, {}, echo));
    const error = (await client
      .repository(`${registry.host}/app`)
      .fetch(describeBytes(noise(1)))
      .catch((reason: unknown) => reason)) as RegistryError;
    expect(error.code).toBe('DENIED');
    expect(inspect(error)).toContain('you sent');
    expect(inspect(error)).not.toContain('s3cret');
    expect(inspect(error)).not.toContain(basic('ann', 's3cret').slice(6));
  });

  test('without credentials is UNAUTHORIZED at once', async () => {
    await using registry = await startTestRegistry({ challenge });
    await using client = quickClient();
    await expect(
      client.repository(`${registry.host}/app`).fetch(describeBytes(noise(1))),
    ).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    });
    expect(registry.log().length).toBe(1);
  });

  test('of one repository does not serve another', async () => {
    await using registry = await startTestRegistry({ challenge });
    addImage(registry, 'app', 'v1');
    await using client = quickClient();
    const credentials = { username: 'ann', password: 's3cret' };
    await client.repository(`${registry.host}/app`, { credentials }).resolve('v1');
    await expect(client.repository(`${registry.host}/app`).resolve('v1')).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    });
  });
});

describe('bearer tokens', () => {
  const pullToken = 'token-for-repository-app-pull';

  test('are got anonymously, once, however many requests need one', async () => {
    await using tokens = await startTokenServer();
    await using registry = await startTestRegistry({
      challenge: bearer(
        () => tokens.realm,
        () => pullToken,
      ),
    });
    const { manifest, layer, config } = addImage(registry, 'app', 'v1');
    await using client = quickClient();
    const repository = client.repository(`${registry.host}/app`);
    await Promise.all(
      [manifest, layer, config, layer].map(async (each) => collect(await repository.fetch(each))),
    );
    expect(tokens.requests).toEqual([
      { method: 'GET', scopes: ['repository:app:pull'], service: 'test', user: undefined },
    ]);
  });

  test('are got with user and password', async () => {
    await using tokens = await startTokenServer({ users: { ann: 's3cret' } });
    await using registry = await startTestRegistry({
      challenge: bearer(
        () => tokens.realm,
        () => pullToken,
      ),
    });
    addImage(registry, 'app', 'v1');
    await using client = quickClient();
    const as = (password: string) =>
      client.repository(`${registry.host}/app`, { credentials: { username: 'ann', password } }).resolve('v1');
    expect((await as('s3cret')).size).toBeGreaterThan(0);
    expect(tokens.requests).toEqual([
      { method: 'GET', scopes: ['repository:app:pull'], service: 'test', user: 'ann' },
    ]);
    await expect(as('wrong-pass')).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('wrong user or password'),
    });
    // the password goes to the token server alone
    expect(registry.requests.some(({ headers }) => headers.authorization?.startsWith('Basic'))).toBe(false);
  });

  test('are got with a refresh token by POST, and the next refresh token is used after it', async () => {
    await using tokens = await startTokenServer({
      refreshTokens: ['refresh-1', 'refresh-2'],
      nextRefreshToken: 'refresh-2',
      issue: (scopes) => scopes.join('|'),
    });
    await using registry = await startTestRegistry({
      challenge: bearer(
        () => tokens.realm,
        ({ method }) =>
          method === 'GET' || method === 'HEAD' ? 'repository:app:pull' : 'repository:app:pull,push',
      ),
    });
    addImage(registry, 'app', 'v1');
    await using client = quickClient({
      credentials: credentialsFor(registry.host, { identityToken: 'refresh-1' }),
    });
    const repository = client.repository(`${registry.host}/app`);
    await repository.tag(await repository.resolve('v1'), 'v2');
    expect(tokens.requests.map(({ method, user }) => [method, user])).toEqual([
      ['POST', 'refreshed'],
      ['POST', 'refreshed'],
    ]);
  });

  test('given by the caller are sent as they are', async () => {
    await using registry = await startTestRegistry({
      challenge: bearer(
        () => 'http://127.0.0.1:1/',
        () => 'mine',
      ),
    });
    addImage(registry, 'app', 'v1');
    await using client = quickClient({
      credentials: credentialsFor(registry.host, { registryToken: 'mine' }),
    });
    await client.repository(`${registry.host}/app`).resolve('v1');
    await using other = quickClient({
      credentials: credentialsFor(registry.host, { registryToken: 'not-mine' }),
    });
    await expect(other.repository(`${registry.host}/app`).resolve('v1')).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    });
  });

  test('that the registry does not take end the call, they do not loop', async () => {
    await using tokens = await startTokenServer();
    await using registry = await startTestRegistry({
      challenge: bearer(
        () => tokens.realm,
        () => 'never',
      ),
    });
    await using client = quickClient();
    await expect(
      client.repository(`${registry.host}/app`).fetch(describeBytes(noise(1))),
    ).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    });
    expect(registry.log().length).toBe(2);
  });

  test('that were revoked are replaced', async () => {
    let generation = 0;
    await using tokens = await startTokenServer({ issue: () => `token-${generation}` });
    await using registry = await startTestRegistry({
      challenge: bearer(
        () => tokens.realm,
        () => `token-${generation}`,
      ),
    });
    addImage(registry, 'app', 'v1');
    await using client = quickClient();
    const repository = client.repository(`${registry.host}/app`);
    await repository.resolve('v1');
    generation = 1;
    await repository.resolve('v1');
    expect(tokens.requests.length).toBe(2);
  });

  test('are bought with what the source has for the repository, and not shared between repositories', async () => {
    await using tokens = await startTokenServer({
      users: { one: 'p1', two: 'p2' },
      issue: (_, user) => `token-of-${user}`,
    });
    await using registry = await startTestRegistry({
      challenge: ({ headers, url }) => {
        const user = url!.includes('/one/') ? 'one' : 'two';
        return headers.authorization === `Bearer token-of-${user}`
          ? undefined
          : `Bearer realm="${tokens.realm}",service="test"`;
      },
    });
    const { layer } = addImage(registry, 'one/app', 'v1');
    addImage(registry, 'two/app', 'v1');
    const asked: (string | undefined)[] = [];
    await using client = quickClient({
      credentials: {
        perRepository: true,
        get: async (_, { repository } = {}) => {
          asked.push(repository);
          return repository === 'one/app'
            ? { username: 'one', password: 'p1' }
            : { username: 'two', password: 'p2' };
        },
      },
    });
    for (const name of ['one/app', 'two/app', 'one/app']) {
      const repository = client.repository(`${registry.host}/${name}`);
      await repository.resolve('v1');
      await collect(await repository.fetch(layer));
    }
    expect(asked.sort()).toEqual(['one/app', 'two/app']);
    expect(tokens.requests.map(({ user }) => user).sort()).toEqual(['one', 'two']);
  });

  test('for a mount cover both repositories', async () => {
    await using tokens = await startTokenServer({ issue: (scopes) => scopes.join('|') });
    let mounted = '';
    await using registry = await startTestRegistry({
      challenge: (request) => {
        const { authorization } = request.headers;
        if (request.method === 'POST' && authorization?.includes('|')) mounted = authorization;
        return authorization?.startsWith('Bearer ')
          ? undefined
          : `Bearer realm="${tokens.realm}",service="test"`;
      },
    });
    await using client = quickClient();
    const repository = client.repository(`${registry.host}/app`, { mountFrom: ['library/base'] });
    await repository.push(describeBytes(noise(10)), chunks(noise(10)));
    expect(mounted).toBe('Bearer repository:app:pull,push|repository:library/base:pull');
  });

  test.each([
    ['{', 'INVALID_RESPONSE'],
    ['{}', 'INVALID_RESPONSE'],
    ['{"token":5}', 'INVALID_RESPONSE'],
    ['{"token":"a\\r\\nX-Evil: 1"}', 'INVALID_RESPONSE'],
    [`{"token":"${'x'.repeat(2_000_000)}"}`, 'TOO_LARGE'],
  ])('in a bad answer are refused', async (body, code) => {
    await using tokens = await startTestRegistry();
    tokens.intercept(/token/, answer(200, {}, body), Infinity);
    await using registry = await startTestRegistry({
      challenge: bearer(
        () => `${tokens.url}/token`,
        () => 'x',
      ),
    });
    await using client = quickClient();
    await expect(
      client.repository(`${registry.host}/app`).fetch(describeBytes(noise(1))),
    ).rejects.toMatchObject({
      code,
    });
  });

  test.each([
    ['http://registry.example/token', 'INSECURE'],
    ['http://169.254.169.254/latest/meta-data', 'INSECURE'],
    ['file:///etc/passwd', 'INVALID_RESPONSE'],
    ['not a url', 'INVALID_RESPONSE'],
    ['', 'INVALID_RESPONSE'],
  ])('are not asked for at %j', async (realm, code) => {
    await using registry = await startTestRegistry({
      challenge: bearer(
        () => realm,
        () => 'x',
      ),
    });
    await using client = quickClient({
      credentials: credentialsFor(registry.host, { username: 'ann', password: 's3cret' }),
    });
    await expect(
      client.repository(`${registry.host}/app`).fetch(describeBytes(noise(1))),
    ).rejects.toMatchObject({
      code,
    });
  });

  test('do not die with the request that asked first', async () => {
    const { promise: asked, resolve: tellAsked } = Promise.withResolvers<void>();
    const { promise: go, resolve: release } = Promise.withResolvers<void>();
    await using tokens = await startTestRegistry();
    tokens.intercept(/token/, async (_, response) => {
      tellAsked();
      await go;
      response.end(JSON.stringify({ token: 'shared' }));
    });
    await using registry = await startTestRegistry({
      challenge: bearer(
        () => `${tokens.url}/token`,
        () => 'shared',
      ),
    });
    addImage(registry, 'app', 'v1');
    await using client = quickClient();
    const repository = client.repository(`${registry.host}/app`);
    const controller = new AbortController();
    const reason = new Error('not any more');
    const first = repository.resolve('v1', { signal: controller.signal });
    await asked;
    const second = repository.resolve('v1');
    controller.abort(reason);
    await expect(first).rejects.toBe(reason);
    release();
    expect((await second).size).toBeGreaterThan(0);
    expect(tokens.log().length).toBe(1);
  });
});

test('among several challenges in one header the known one is answered', async () => {
  await using registry = await startTestRegistry({
    challenge: (request) =>
      request.headers.authorization === basic('ann', 's3cret')
        ? undefined
        : ['Negotiate YWJj==', 'Digest realm="a,b=\\"c", nonce=x, BASIC Realm=registry'],
  });
  addImage(registry, 'app', 'v1');
  await using client = quickClient({
    credentials: credentialsFor(registry.host, { username: 'ann', password: 's3cret' }),
  });
  expect((await client.repository(`${registry.host}/app`).resolve('v1')).size).toBeGreaterThan(0);
});

test('ping tells right credentials from wrong ones', async () => {
  await using registry = await startTestRegistry({
    challenge: (request) =>
      request.headers.authorization === basic('ann', 's3cret') ? undefined : 'Basic realm="r"',
  });
  await using client = quickClient();
  await client.ping(registry.host, { credentials: { username: 'ann', password: 's3cret' } });
  await expect(
    client.ping(registry.host, { credentials: { username: 'ann', password: 'no' } }),
  ).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
});
