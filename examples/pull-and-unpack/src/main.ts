/** Pulls an image and unpacks it into a directory: `npm start -- <image> <directory>`. */
import { mkdir } from 'node:fs/promises';
import { platformOfProcess } from '@tare/image-spec';
import { readImage } from '@tare/image-spec/content';
import { applyLayer, nodeLayerFs } from '@tare/layer-store';
import { RegistryClient } from '@tare/registry-client';

const [image, directory] = process.argv.slice(2);
if (image === undefined || directory === undefined)
  throw new Error('usage: npm start -- <image> <directory>');

await using client = new RegistryClient();
const repository = client.repository(image);
const { layers } = await readImage(repository, await repository.resolve(), platformOfProcess(process));

await mkdir(directory, { recursive: true });
for (const { descriptor } of layers) {
  const { entries, skipped } = await applyLayer(await repository.fetch(descriptor), directory, {
    fs: nodeLayerFs,
    whiteouts: 'remove',
    ownership: 'caller',
    unsupported: 'skip',
  });
  console.log(`${descriptor.digest}: ${entries} entries, ${skipped.length} skipped`);
}
