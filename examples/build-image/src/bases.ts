/** Base images: from registries, unpacked into the layer store. What is there already is not fetched again. */
import type { BaseImage, Bases } from '@tare/engine/builder';
import {
  parseReference,
  platformOfProcess,
  referenceTarget,
  selectManifest,
  withDefaultTag,
} from '@tare/image-spec';
import { copyGraph, readImage } from '@tare/image-spec/content';
import type { LayerStore } from '@tare/layer-store';
import type { RegistryClient } from '@tare/registry-client';

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
      const {
        manifest,
        config,
        layers: unpacked,
      } = await readImage(layers.content, root, platform, { signal });
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
