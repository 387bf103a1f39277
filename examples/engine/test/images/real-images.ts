/** The image service on a real layer store and a real database, pulling over HTTP. As a program it pulls one image. */
import { join } from 'node:path';
import { parseReference } from '@tare/image-spec';
import { openLayerStore } from '@tare/layer-store';
import { RegistryClient } from '@tare/registry-client';
import { layerFs } from '@tare/runtime-native';
import { EventBus } from '../../src/events/event-bus.ts';
import { Images } from '../../src/images/images.ts';
import { Puller } from '../../src/images/pull.ts';
import type { ProgressLine } from '../../src/images/transfer-progress.ts';
import { Registries } from '../../src/registries.ts';
import { StateDb } from '../../src/state/db.ts';
import { ImagesTable, imagesMigrations } from '../../src/state/images-table.ts';

/** Opens everything in `dataRoot`; dispose of it to let another process open it. */
export async function openRealImages(dataRoot: string) {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(StateDb.open(join(dataRoot, 'state.db'), imagesMigrations));
  const program = new URL('../../src/unpack.worker.ts', import.meta.url);
  const layers = resources.use(
    await openLayerStore({ root: join(dataRoot, 'layers'), fs: layerFs, workers: { program } }),
  );
  const registries = resources.use(new Registries(() => Promise.resolve(new RegistryClient())));
  const images = new Images({
    table: new ImagesTable(db),
    content: layers.content,
    snapshots: layers.snapshots,
    events: new EventBus(),
    users: { usersOf: () => [] },
  });
  const puller = new Puller({
    images,
    openRepository: registries.openRepository,
    unpacker: layers,
    maxConcurrentDownloads: 3,
  });
  const owned = resources.move();
  return {
    images,
    layers,
    async pull(name: string, signal = new AbortController().signal): Promise<ProgressLine[]> {
      const messages: ProgressLine[] = [];
      await puller.pull({ reference: parseReference(name) }, (message) => messages.push(message), { signal });
      return messages;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

if (import.meta.main) {
  const [dataRoot, name] = process.argv.slice(2);
  await using engine = await openRealImages(dataRoot!);
  await engine.pull(name!);
}
