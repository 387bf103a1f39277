/** Removes names and images, by the conflict rules of dockerd. */
import { parseImageManifest, parseReference, type Descriptor, type Digest } from '@tare/image-spec';
import { readBytes } from '@tare/image-spec/content';
import { LayerStoreError } from '@tare/layer-store';
import { conflict, type EngineError } from '../errors.ts';
import type { Image } from './image.ts';
import type { Images } from './images.ts';
import { canonicalTag, familiar, familiarDigest, repositoryOf, shortId } from './names.ts';

/** What was done, one entry a step, in order. */
export type RemovedItem = { Untagged: string } | { Deleted: string };

/** A name of an image: one tag, or one digest in one repository. */
type Name =
  | { kind: 'tag'; repository: string; canonical: string }
  | { kind: 'digest'; repository: string; digest: Digest };

/**
 * Removes what `reference` names.
 *
 * A name is untagged, and the image goes with its last name; an id takes all names of one repository with it.
 *
 * @param options.force - remove in spite of stopped containers and of names in several repositories
 * @throws {EngineError} `NOT_FOUND`, `CONFLICT`
 */
export async function removeImage(
  images: Images,
  reference: string,
  options: { force: boolean },
): Promise<RemovedItem[]> {
  const image = images.resolve(reference);
  const removed: RemovedItem[] = [];
  const names = namesOf(images, image.id);
  let quiet = false;

  if (!isIdPrefix(image.id, reference)) {
    if (!options.force && isSingle(names)) refuseIfUsed(images, image, reference);
    untagByName(images, image, reference, removed);
    if (namesOf(images, image.id).length > 0) return removed;
    quiet = true;
  } else if (isSingle(names)) {
    const error = conflictOf(images, image, { soft: !options.force, references: false });
    if (error) throw error;
    for (const name of names) untag(images, image, name, removed);
  }

  const error = conflictOf(images, image, { soft: !options.force, references: true });
  if (error) {
    // the name is gone, as was asked for; that the image stays for its containers is no failure
    if (quiet && images.users.usersOf(image.id).length > 0) return removed;
    throw error;
  }
  for (const name of namesOf(images, image.id)) untag(images, image, name, removed);
  await deleteImage(images, image, removed);
  return removed;
}

/** Removes an image that has no names and no users. */
export async function deleteImage(images: Images, image: Image, removed: RemovedItem[]): Promise<void> {
  const blobs = await blobsOf(images, image.id);
  // the row first: an image is there whole or not at all; what a crash leaves after this is swept at the next start
  images.table.remove(image.id);
  images.forget(image.id);
  images.emit('delete', image.id, image.id, image.config.config?.Labels);
  removed.push({ Deleted: image.id });
  for (const chainId of await removeLayers(images, image.chain)) removed.push({ Deleted: chainId });
  await removeUnusedBlobs(images, blobs);
}

function namesOf(images: Images, id: Digest): Name[] {
  return [
    ...images.table.tags(id).map((canonical): Name => ({
      kind: 'tag',
      canonical,
      repository: repositoryOf(parseReference(canonical)),
    })),
    ...images.table
      .digests(id)
      .map(({ repository, digest }): Name => ({ kind: 'digest', repository, digest })),
  ];
}

/** At most one tag, and digests of the same repository only. */
function isSingle(names: readonly Name[]): boolean {
  const repositories = new Set(names.map(({ repository }) => repository));
  return repositories.size <= 1 && names.filter(({ kind }) => kind === 'tag').length <= 1;
}

function isIdPrefix(id: Digest, reference: string): boolean {
  return id.startsWith(reference) || id.slice('sha256:'.length).startsWith(reference);
}

function refuseIfUsed(images: Images, image: Image, reference: string): void {
  const [user] = images.users.usersOf(image.id);
  if (!user) return;
  const parsed = parseReference(reference);
  const shown =
    parsed.digest === undefined
      ? familiar(canonicalTag(parsed))
      : familiarDigest(repositoryOf(parsed), parsed.digest);
  throw conflict(
    `conflict: unable to remove repository reference "${shown}" (must force) - ` +
      `container ${shortId(user.containerId)} is using its referenced image ${shortId(image.id)}`,
  );
}

function conflictOf(
  images: Images,
  image: Image,
  check: { soft: boolean; references: boolean },
): EngineError | undefined {
  const users = images.users.usersOf(image.id);
  const running = users.find((user) => user.running);
  const refuse = (how: string, why: string): EngineError =>
    conflict(`conflict: unable to delete ${shortId(image.id)} (${how} be forced) - ${why}`);
  if (running) {
    return refuse('cannot', `image is being used by running container ${shortId(running.containerId)}`);
  }
  if (!check.soft) return undefined;
  if (check.references && namesOf(images, image.id).length > 0) {
    return refuse('must', 'image is referenced in multiple repositories');
  }
  const [user] = users;
  return user && refuse('must', `image is being used by stopped container ${shortId(user.containerId)}`);
}

function untagByName(images: Images, image: Image, reference: string, removed: RemovedItem[]): void {
  const parsed = parseReference(reference);
  const repository = repositoryOf(parsed);
  const name: Name =
    parsed.digest === undefined
      ? { kind: 'tag', repository, canonical: canonicalTag(parsed) }
      : { kind: 'digest', repository, digest: parsed.digest };
  untag(images, image, name, removed);
  if (name.kind === 'digest') return;
  // digests of a repository without a tag left in it would keep the image alive and can hardly be seen
  const rest = namesOf(images, image.id).filter((other) => other.repository === repository);
  if (rest.every((other) => other.kind === 'digest')) {
    for (const other of rest) untag(images, image, other, removed);
  }
}

function untag(images: Images, image: Image, name: Name, removed: RemovedItem[]): void {
  if (name.kind === 'tag') images.table.removeTag(name.canonical);
  else images.table.removeDigest(name.repository, name.digest);
  removed.push({
    Untagged: name.kind === 'tag' ? familiar(name.canonical) : familiarDigest(name.repository, name.digest),
  });
  images.emit('untag', image.id, image.id, image.config.config?.Labels);
}

/** Everything in the content store that an image consists of. */
export async function blobsOf(images: Images, id: Digest): Promise<Set<Digest>> {
  const blobs = new Set<Digest>();
  for (const descriptor of images.table.manifests(id)) {
    blobs.add(descriptor.digest);
    const manifest = await readManifest(images, descriptor);
    if (!manifest) continue;
    blobs.add(manifest.config.digest);
    for (const layer of manifest.layers) blobs.add(layer.digest);
  }
  return blobs;
}

/** Manifests larger than this are refused at pull. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

async function readManifest(images: Images, descriptor: Descriptor) {
  if (!(await images.content.has(descriptor))) return undefined;
  const bytes = await readBytes(await images.content.fetch(descriptor), MAX_MANIFEST_BYTES);
  return parseImageManifest(bytes, descriptor);
}

/** Removes the layers that no other image has, topmost first, and returns them. */
async function removeLayers(images: Images, chain: readonly Digest[]): Promise<Digest[]> {
  const used = new Set(images.table.list().flatMap((row) => row.chain));
  const removed: Digest[] = [];
  for (const chainId of chain.toReversed()) {
    if (used.has(chainId) || images.leases.has(chainId)) break;
    try {
      await images.snapshots.remove(chainId);
    } catch (error) {
      // a stopped container still stands on it: it goes when that is removed, or at the next sweep
      if (error instanceof LayerStoreError && error.code === 'IN_USE') break;
      throw error;
    }
    images.table.removeLayer(chainId);
    removed.push(chainId);
  }
  return removed;
}

/** Removes those of `blobs` that no image has and nobody holds. */
export async function removeUnusedBlobs(images: Images, blobs: ReadonlySet<Digest>): Promise<void> {
  if (blobs.size === 0) return;
  const used = new Set<Digest>();
  for (const row of images.table.list()) {
    for (const digest of await blobsOf(images, row.id)) used.add(digest);
  }
  for (const digest of blobs) {
    if (!used.has(digest) && !images.leases.has(digest)) await images.content.delete(digest);
  }
}

/** Removes an image that nobody was told of: its row and documents. Its layers stay, for those who made them. */
export async function removeInternalImage(images: Images, id: Digest): Promise<void> {
  const row = images.table.get(id);
  if (!row || images.table.tags(id).length > 0) return;
  const manifests = images.table.manifests(id);
  images.table.remove(id);
  images.forget(id);
  for (const { digest } of [...manifests, { digest: id }]) {
    if (!images.leases.has(digest)) await images.content.delete(digest);
  }
}
