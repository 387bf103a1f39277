/** What the commands share: a client, places, and images that are opened, copied and changed. */
import { platformOfProcess, type Descriptor, type Platform } from '@tare/image-spec';
import { readImage, type ContentSource } from '@tare/image-spec/content';
import type { FileContent } from '@tare/layer-store';
import { RegistryClient, TransferMeter, containersAuthCredentials } from '@tare/registry-client';
import { changeImage, manifestFor, toOci, type Change } from './image.ts';
import { placeOf, temporaryStore, type Place, type PlaceContext } from './place.ts';

/** Options of every command. */
export interface GlobalOptions {
  platform?: Platform;
  insecure: string[];
  quiet: boolean;
}
/** One run of the tool; all that it opens ends with `stack`. */
export class Tool {
  readonly client: RegistryClient;
  readonly platform: Platform;
  /** With a platform, of an index only its image; else everything. */
  readonly onlyPlatform: boolean;
  readonly context: PlaceContext;

  constructor(
    stack: AsyncDisposableStack,
    { insecure, platform, quiet }: GlobalOptions,
    signal: AbortSignal | undefined,
  ) {
    this.client = stack.use(new RegistryClient({ credentials: containersAuthCredentials(), insecure }));
    this.onlyPlatform = platform !== undefined;
    this.platform = platform ?? platformOfProcess(process);
    const meter = new TransferMeter(({ blobs, blobsDone, transferredBytes, totalBytes, bytesPerSecond }) => {
      const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
      process.stderr.write(
        `\r${blobsDone}/${blobs} blobs, ${mib(transferredBytes)}/${mib(totalBytes)} MiB, ${mib(bytesPerSecond)} MiB/s `,
      );
    });
    const shown = !quiet && process.stderr.isTTY;
    this.context = {
      client: this.client,
      stack,
      ...(signal && { signal }),
      ...(shown && { onTransfer: meter.onTransfer }),
    };
  }

  place(text: string): Place {
    return placeOf(text, this.context);
  }

  /** What is at a place: of an index, the image of the platform that was asked for, if one was. */
  async open(text: string): Promise<{ place: Place; source: ContentSource; descriptor: Descriptor }> {
    const place = this.place(text);
    const { source, descriptor } = await place.open();
    const chosen = this.onlyPlatform ? await manifestFor(source, descriptor, this.platform) : descriptor;
    return { place, source, descriptor: chosen };
  }

  /** @param oci - with OCI's media types in place of Docker's, which changes the digest */
  async copy(from: string, to: string, oci: boolean): Promise<void> {
    const { place, source, descriptor } = await this.open(from);
    if (!oci) return this.place(to).store(source, descriptor, place);
    const store = await temporaryStore(this.context);
    const converted = await toOci(source, descriptor, store);
    await this.place(to).store(layered(store, source), converted, place);
  }

  /** Changes the image at `from` and stores it at `to`; returns its digest. */
  async change(from: string, to: string, changeOf: (store: FileContent) => Promise<Change>): Promise<string> {
    const { place, source, descriptor } = await this.open(from);
    const store = await temporaryStore(this.context);
    const image = await readImage(source, descriptor, this.platform);
    const changed = await changeImage(image, await changeOf(store), store);
    await this.place(to).store(layered(store, source), changed, place);
    return changed.digest;
  }
}

/** What `store` has, and the rest of `source`. */
function layered(store: FileContent, source: ContentSource): ContentSource {
  return {
    fetch: async (what, options) => ((await store.has(what)) ? store : source).fetch(what, options),
  };
}
