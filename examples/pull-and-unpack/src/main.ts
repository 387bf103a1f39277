/** Pulls an image and unpacks it into a directory: `npm start -- <image> <directory>`. */
import { mkdir } from 'node:fs/promises';
import {
  parseImageIndex,
  parseImageManifest,
  isIndexType,
  platformOfProcess,
  selectManifest,
} from '@tare/image-spec';
import { readBytes } from '@tare/image-spec/content';
import { applyLayer, nodeLayerFs } from '@tare/layer-store';
import { RegistryClient } from '@tare/registry-client';

const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;
const [image, directory] = process.argv.slice(2);
if (image === undefined || directory === undefined)
  throw new Error('usage: npm start -- <image> <directory>');

await using client = new RegistryClient();
const repository = client.repository(image);
let root = await repository.resolve();
const document = async () => readBytes(await repository.fetch(root), MAX_DOCUMENT_BYTES);
if (isIndexType(root.mediaType)) {
  root = selectManifest(parseImageIndex(await document(), root), platformOfProcess(process));
}
const { layers } = parseImageManifest(await document(), root);

await mkdir(directory, { recursive: true });
for (const layer of layers) {
  const { entries, skipped } = await applyLayer(await repository.fetch(layer), directory, {
    fs: nodeLayerFs,
    whiteouts: 'remove',
    ownership: 'caller',
    unsupported: 'skip',
  });
  console.log(`${layer.digest}: ${entries} entries, ${skipped.length} skipped`);
}
