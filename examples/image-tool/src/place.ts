/** Where images are: a repository of a registry, an OCI layout in a directory, an archive in a file. */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { formatReference, parseReference, withDefaultTag, type Descriptor } from '@tare/image-spec';
import { copyGraph, type ContentSource } from '@tare/image-spec/content';
import { openFileContent, type FileContent } from '@tare/layer-store';
import {
  openImageLayout,
  readImageArchive,
  writeImageArchive,
  type NamedImage,
} from '@tare/layer-store/archive';
import type { OnTransfer, RegistryClient, Repository } from '@tare/registry-client';

/** One image's place. */
export interface Place {
  /** What it is called in an archive; undefined when it has no name. */
  readonly name: string | undefined;
  /** The repository, when it is one. */
  readonly repository?: Repository;
  /** The image's descriptor, and where its content can be read. */
  open(): Promise<{ descriptor: Descriptor; source: ContentSource }>;
  /** Puts an image there, under the name of this place or else of the one it is from. */
  store(source: ContentSource, descriptor: Descriptor, from: Place): Promise<void>;
}

/** What places need. */
export interface PlaceContext {
  client: RegistryClient;
  stack: AsyncDisposableStack;
  onTransfer?: OnTransfer;
  signal?: AbortSignal;
}

/**
 * Finds the place that `text` names: `oci:DIRECTORY[:NAME]`, `archive:FILE[:NAME]` (also `oci-archive:` and
 * `docker-archive:`, which are read alike and written as one), a path that begins with `/` or `.` (an archive), or a
 * reference.
 */
export function placeOf(text: string, context: PlaceContext): Place {
  const [, kind, path, name] =
    /^(oci|archive|oci-archive|docker-archive):([^:]+)(?::(.+))?$/.exec(text) ?? [];
  if (kind === 'oci') return layoutPlace(resolve(path!), name, context);
  if (kind !== undefined) return archivePlace(resolve(path!), name, context);
  if (/^[./]/.test(text)) return archivePlace(resolve(text), undefined, context);
  return registryPlace(text, context);
}

function registryPlace(text: string, { client, onTransfer, signal }: PlaceContext): Place {
  const options = signal ? { signal } : {};
  const reference = parseReference(text);
  const repository = client.repository(reference, { ...(onTransfer && { onTransfer }) });
  return {
    name: formatReference(withDefaultTag(reference)),
    repository,
    open: async () => ({ descriptor: await repository.resolve(undefined, options), source: repository }),
    async store(source, descriptor, from) {
      const other = from.repository?.reference;
      const mountFrom = other?.registry === reference.registry ? [other.repository] : [];
      const target = client.repository(reference, { mountFrom, ...(onTransfer && { onTransfer }) });
      await copyGraph(source, target, descriptor, options);
      if (reference.digest === undefined) await target.tag(descriptor, reference.tag ?? 'latest', options);
    },
  };
}

function layoutPlace(directory: string, name: string | undefined, { stack, signal }: PlaceContext): Place {
  return {
    name,
    async open() {
      const layout = stack.use(await openImageLayout(directory));
      return { descriptor: await layout.resolve(name), source: layout };
    },
    async store(source, descriptor) {
      const layout = stack.use(await openImageLayout(directory, { create: true }));
      await copyGraph(source, layout, descriptor, signal ? { signal } : {});
      await (name === undefined ? layout.add(descriptor) : layout.tag(descriptor, name));
    },
  };
}

function archivePlace(file: string, name: string | undefined, context: PlaceContext): Place {
  const options = context.signal ? { signal: context.signal } : {};
  return {
    name,
    async open() {
      const store = await temporaryStore(context);
      const images = await readImageArchive(createReadStream(file), store, options);
      return { descriptor: pick(images, name, file), source: store };
    },
    async store(source, descriptor, from) {
      const named = name ?? from.name;
      const images = [{ descriptor, names: named === undefined ? [] : [named] }];
      const unfinished = `${file}.unfinished`;
      try {
        await pipeline(writeImageArchive(source, images, options), createWriteStream(unfinished), options);
        await rename(unfinished, file);
      } finally {
        await rm(unfinished, { force: true });
      }
    },
  };
}

function pick(images: readonly NamedImage[], name: string | undefined, file: string): Descriptor {
  const found = images.filter(
    ({ names }) => name === undefined || names.some((each) => sameName(each, name)),
  );
  if (found.length === 1) return found[0]!.descriptor;
  const all = images.flatMap(({ names }) => names).join(', ') || 'images without a name';
  throw new Error(
    `${file} has ${found.length} images${name === undefined ? '' : ` called ${name}`}; there is: ${all}`,
  );
}

function sameName(one: string, other: string): boolean {
  const whole = (text: string) => formatReference(withDefaultTag(parseReference(text)));
  return one === other || whole(one) === whole(other);
}

/** A content store that goes when the command ends. */
export async function temporaryStore({ stack }: Pick<PlaceContext, 'stack'>): Promise<FileContent> {
  const folder = await mkdtemp(join(tmpdir(), 'image-tool-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  return openFileContent(folder);
}
