import { MEDIA_TYPES, type Descriptor } from '@tare/image-spec';
import { expect, test } from 'vitest';
import { referrersTag, type Repository } from '../src/index.ts';
import { answer, startTestRegistry } from '../src/testing/index.ts';
import { addImage, chunks, describeBytes, quickClient } from './support.ts';

const mediaType = MEDIA_TYPES.ociManifest;

async function attach(
  repository: Repository,
  subject: Descriptor,
  artifactType: string,
): Promise<Descriptor> {
  const config = describeBytes(Buffer.from('{}'), 'application/vnd.oci.empty.v1+json');
  const document = { schemaVersion: 2, mediaType, artifactType, config, layers: [config], subject };
  const bytes = Buffer.from(JSON.stringify(document));
  const descriptor = describeBytes(bytes, mediaType);
  await repository.push(config, chunks(Buffer.from('{}')));
  await repository.push(descriptor, chunks(bytes));
  return descriptor;
}

test.each([true, false])(
  'lists, filters and forgets what refers to an image (registry has the API: %s)',
  async (referrers) => {
    await using registry = await startTestRegistry({ referrers });
    await using client = quickClient();
    const { manifest } = addImage(registry, 'app', 'v1');
    const repository = client.repository(`${registry.host}/app`);
    const digests = async (options = {}) =>
      (await Array.fromAsync(repository.referrers(manifest, options))).map(({ digest }) => digest).sort();
    expect(await digests()).toEqual([]);
    const [signature, sbom] = await Promise.all([
      attach(repository, manifest, 'application/x-signature'),
      attach(repository, manifest, 'application/x-sbom'),
    ]);
    await attach(repository, manifest, 'application/x-sbom');
    expect(await digests()).toEqual([signature.digest, sbom.digest].sort());
    expect(await digests({ artifactType: 'application/x-sbom' })).toEqual([sbom.digest]);
    expect(registry.manifests.has(`app:${referrersTag(manifest.digest)}`)).toBe(!referrers);
    await repository.delete(signature);
    expect(await digests()).toEqual([sbom.digest]);
  },
);

test.each([
  'null',
  '[]',
  '{"manifests":{}}',
  '{"schemaVersion":2,"manifests":[{"digest":"../x"}]}',
  '<html>',
])('refuses a list of referrers that is %s', async (body) => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const { manifest } = addImage(registry, 'app', 'v1');
  registry.intercept(/referrers/, answer(200, {}, body));
  const listing = Array.fromAsync(client.repository(`${registry.host}/app`).referrers(manifest));
  await expect(listing).rejects.toMatchObject({ code: 'INVALID_RESPONSE' });
});
