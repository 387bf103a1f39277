import { X509Certificate, createPrivateKey, randomUUID, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { MEDIA_TYPES } from '@tare/image-spec';
import { MemoryContent, copyGraph } from '@tare/image-spec/content';
import { afterAll, describe, expect, test } from 'vitest';
import { startTokenServer } from '../src/testing/index.ts';
import { referrersTag, type Repository } from '../src/index.ts';
import { makeCertificate } from './certificate.ts';
import { hasDebianRegistry, startDebian } from './debian.ts';
import { chunks, describeBytes, noise, quickClient } from './support.ts';

const available = await hasDebianRegistry();
/** ann, correct horse */
const HTPASSWD = 'ann:$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n';
const ANN = { username: 'ann', password: 'correct horse' };

/** Pushes an image from memory, tags it, and pulls it into memory again. */
async function roundTrip(repository: Repository): Promise<void> {
  const source = new MemoryContent();
  const add = async (mediaType: string, bytes: Buffer) => {
    const descriptor = describeBytes(bytes, mediaType);
    await source.push(descriptor, chunks(bytes));
    return descriptor;
  };
  const layers = [
    await add(MEDIA_TYPES.ociLayer, noise(1_500_000)),
    await add(MEDIA_TYPES.ociLayer, Buffer.from(randomUUID())),
  ];
  const diffIds = layers.map(({ digest }) => digest);
  const config = await add(
    MEDIA_TYPES.ociConfig,
    Buffer.from(
      JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } }),
    ),
  );
  const mediaType = MEDIA_TYPES.ociManifest;
  const manifest = await add(
    mediaType,
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers })),
  );
  await copyGraph(source, repository, manifest);
  await repository.tag(manifest, 'v1');
  expect(await repository.resolve('v1')).toEqual(manifest);
  expect(await repository.resolve(manifest.digest)).toEqual(manifest);
  const store = new MemoryContent();
  await copyGraph(repository, store, manifest);
  for (const descriptor of [manifest, config, ...layers]) expect(await store.has(descriptor)).toBe(true);
}

describe.skipIf(!available)("Debian's docker-registry", () => {
  const keys = makeCertificate();
  afterAll(() => keys?.[Symbol.dispose]());

  test('takes and gives an image, lists it, mounts from it and deletes it', async () => {
    await using registry = await startDebian();
    await using client = quickClient();
    const repository = client.repository(`${registry.host}/team/app`);
    await roundTrip(repository);
    expect(await Array.fromAsync(repository.tags())).toEqual(['v1']);
    expect(await Array.fromAsync(client.catalog(registry.host))).toEqual(['team/app']);

    const kinds: string[] = [];
    const other = client.repository(`${registry.host}/other`, {
      mountFrom: ['team/app'],
      onTransfer: ({ kind }) => kinds.push(kind),
    });
    const layer = describeBytes(noise(1_500_000), MEDIA_TYPES.ociLayer);
    await other.push(layer, chunks(noise(1_500_000)));
    await other.push(layer, chunks(noise(1_500_000)));
    expect(kinds).toEqual(['mounted', 'exists']);

    const manifest = await repository.resolve('v1');
    await repository.delete(manifest);
    await expect(repository.resolve('v1')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      errors: [{ code: 'MANIFEST_UNKNOWN' }],
    });
  });

  test('takes a blob in chunks, and keeps referrers under the fallback tag', async () => {
    await using registry = await startDebian();
    await using client = quickClient();
    const repository = client.repository(`${registry.host}/app`, { chunkBytes: 400_000 });
    await roundTrip(repository);
    const subject = await repository.resolve('v1');
    const config = describeBytes(Buffer.from('{}'), 'application/vnd.oci.empty.v1+json');
    await repository.push(config, chunks(Buffer.from('{}')));
    const mediaType = MEDIA_TYPES.ociManifest;
    const artifactType = 'application/x-sbom';
    const bytes = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType, artifactType, config, layers: [config], subject }),
    );
    const sbom = describeBytes(bytes, mediaType);
    await repository.push(sbom, chunks(bytes));
    expect(await Array.fromAsync(repository.referrers(subject))).toEqual([{ ...sbom, artifactType }]);
    expect(await Array.fromAsync(repository.tags())).toContain(referrersTag(subject.digest));
    await repository.delete(sbom);
    expect(await Array.fromAsync(repository.referrers(subject))).toEqual([]);
  });

  test('refuses a manifest whose layers it lacks, and a blob that is not its digest', async () => {
    await using registry = await startDebian();
    await using client = quickClient();
    const repository = client.repository(`${registry.host}/app`);
    const missing = describeBytes(noise(10), MEDIA_TYPES.ociLayer);
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config: missing, layers: [missing] }));
    const descriptor = describeBytes(bytes, MEDIA_TYPES.ociManifest);
    await expect(repository.push(descriptor, chunks(bytes))).rejects.toMatchObject({
      code: expect.stringMatching(/REFUSED|NOT_FOUND/),
    });
    await expect(repository.push(missing, chunks(noise(10).reverse()))).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    expect(await repository.has(missing)).toBe(false);
  });

  test('lets in with htpasswd only who knows the password', async () => {
    await using registry = await startDebian({ htpasswd: HTPASSWD });
    await using client = quickClient();
    await roundTrip(client.repository(`${registry.host}/app`, { credentials: ANN }));
    await client.ping(registry.host, { credentials: ANN });
    const wrong = client.repository(`${registry.host}/app`, { credentials: { ...ANN, password: 'wrong' } });
    await expect(wrong.resolve('v1')).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await expect(client.repository(`${registry.host}/app`).resolve('v1')).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    });
  });

  test.skipIf(keys === undefined)('lets in with tokens of a token server, each for its scopes', async () => {
    const service = 'lab registry';
    const issuer = 'lab';
    await using tokens = await startTokenServer({
      users: { ann: ANN.password },
      refreshTokens: ['a refresh token'],
      issue: (scopes, user) => signToken(keys!, { issuer, service, user: user ?? '', scopes }),
    });
    await using registry = await startDebian({
      token: { realm: tokens.realm, service, issuer, certificate: keys!.certificate },
    });
    await using client = quickClient();
    await roundTrip(client.repository(`${registry.host}/team/app`, { credentials: ANN }));
    expect(new Set(tokens.requests.flatMap(({ scopes }) => scopes))).toEqual(
      new Set(['repository:team/app:pull', 'repository:team/app:pull,push']),
    );
    const credentials = { identityToken: 'a refresh token' };
    await roundTrip(client.repository(`${registry.host}/team/app`, { credentials }));
    expect(tokens.requests.at(-1)!.method).toBe('POST');
    const wrong = client.repository(`${registry.host}/team/app`, {
      credentials: { ...ANN, password: 'wrong' },
    });
    await expect(wrong.resolve('v1')).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  test.skipIf(keys === undefined)('speaks TLS with a password', async () => {
    await using registry = await startDebian({ htpasswd: HTPASSWD, tls: keys! });
    await using client = quickClient();
    await roundTrip(client.repository(`${registry.host}/app`, { credentials: ANN }));
  });
});

/** A token as docker-registry takes it: a JWT whose header carries the certificate. */
function signToken(
  keys: { key: string; certificate: string },
  claims: { issuer: string; service: string; user: string; scopes: readonly string[] },
): string {
  const certificate = new X509Certificate(readFileSync(keys.certificate)).raw.toString('base64');
  const now = Math.floor(Date.now() / 1_000);
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const unsigned = [
    part({ typ: 'JWT', alg: 'ES256', x5c: [certificate] }),
    part({
      iss: claims.issuer,
      aud: claims.service,
      sub: claims.user,
      nbf: now - 10,
      iat: now - 10,
      exp: now + 300,
      jti: randomUUID(),
      access: claims.scopes.map((scope) => {
        const [type, name, actions] = scope.split(':');
        return { type, name, actions: actions!.split(',') };
      }),
    }),
  ].join('.');
  const key = createPrivateKey(readFileSync(keys.key));
  return `${unsigned}.${sign('sha256', Buffer.from(unsigned), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}
