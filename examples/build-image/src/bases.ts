/** Base images: from registries, unpacked into the layer store. What is there already is not fetched again. */
import type { BaseImage, Bases } from '@tare/engine/builder';
import {
  imageLayers,
  isIndexType,
  parseImageConfig,
  parseImageIndex,
  parseImageManifest,
  parseReference,
  platformOfProcess,
  referenceTarget,
  selectManifest,
  withDefaultTag,
} from '@tare/image-spec';
import { copyGraph, readBytes } from '@tare/image-spec/content';
import type { LayerStore } from '@tare/layer-store';
import type { RegistryClient } from '@tare/registry-client';

/** Manifests and configs are smaller. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

export function registryBases(client: RegistryClient, layers: LayerStore): Bases {
  const known = new Map<string, BaseImage>();
  return {
    local: (reference) => known.get(reference)?.config,
    async find(reference, { platform = platformOfProcess(process), output, signal }) {
      const name = withDefaultTag(parseReference(reference));
      const repository = client.repository(name, {
        onTransfer: ({ descriptor, transferredBytes }) =>
          output.progress(descriptor.digest, {
            current: transferredBytes,
            total: descriptor.size,
            done: transferredBytes === descriptor.size,
          }),
      });
      const root = await repository.resolve(referenceTarget(name), { signal });
      await copyGraph(repository, layers.content, root, {
        select: (index) => [selectManifest(index, platform)],
        signal,
      });
      const read = async (descriptor: typeof root): Promise<Uint8Array> =>
        readBytes(await layers.content.fetch(descriptor, { signal }), MAX_DOCUMENT_BYTES);
      const chosen = isIndexType(root.mediaType)
        ? selectManifest(parseImageIndex(await read(root), root), platform)
        : root;
      const manifest = parseImageManifest(await read(chosen), chosen);
      const config = parseImageConfig(await read(manifest.config), manifest.config);
      const unpacked = await imageLayers(manifest, config);
      if (unpacked.length > 0) await layers.unpack(unpacked, { signal });
      const image: BaseImage = {
        id: manifest.config.digest,
        config,
        layers: unpacked.map(({ descriptor, diffId }) => ({ descriptor, diffId })),
        chain: unpacked.map(({ chainId }) => chainId),
      };
      known.set(reference, image);
      return image;
    },
  };
}
