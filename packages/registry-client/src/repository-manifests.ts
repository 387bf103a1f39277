/** The manifests of one repository: read through its mirrors, kept for a while, written with what has to follow. */
import {
  ContainerError,
  MAX_DOCUMENT_BYTES,
  type Descriptor,
  type Digest,
  type Referral,
} from '@tare/image-spec';
import { readBytes } from '@tare/image-spec/content';
import { repositoryScope } from './auth/scope.ts';
import { manifestPath } from './endpoints.ts';
import { discard } from './http.ts';
import { fetchManifest, putManifest, verifyBytes, type ManifestCall } from './manifests.ts';
import { hasReferrersApi, referralIn, updateReferrersTag } from './referrers.ts';
import type { RegistryHost } from './registry-host.ts';

/** Asks the mirrors in order, then the registry. */
export type Read = <T>(
  ask: (host: RegistryHost) => Promise<T>,
  signal: AbortSignal | undefined,
) => Promise<T>;

/** So many manifests are kept for being tagged after they were pushed or resolved. */
const MAX_KEPT = 8;

/** Keeps the fallback tag of referrers where the registry does not list them itself. */
export class RepositoryManifests {
  readonly #origin: RegistryHost;
  readonly #name: string;
  readonly #read: Read;
  readonly #kept = new Map<Digest, Uint8Array>();
  /** Settles when the last change of a list of referrers has. */
  #referrersUpdate: Promise<void> = Promise.resolve();

  constructor(origin: RegistryHost, repository: string, read: Read) {
    this.#origin = origin;
    this.#name = repository;
    this.#read = read;
  }

  /** The verified bytes of a manifest. */
  async fetch(descriptor: Descriptor, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const kept = this.#kept.get(descriptor.digest);
    if (kept !== undefined) return kept;
    const call = { scopes: [repositoryScope(this.#name, 'pull')], signal };
    const bytes = await this.#read((host) => fetchManifest(host, this.#name, descriptor, call), signal);
    this.keep(descriptor.digest, bytes);
    return bytes;
  }

  /** Remembers bytes that were verified. */
  keep(digest: Digest, bytes: Uint8Array): void {
    this.#kept.delete(digest);
    this.#kept.set(digest, bytes);
    const oldest = this.#kept.keys().next();
    if (this.#kept.size > MAX_KEPT && !oldest.done) this.#kept.delete(oldest.value);
  }

  async push(
    descriptor: Descriptor,
    content: AsyncIterable<Uint8Array>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const bytes = await readBytes(content, MAX_DOCUMENT_BYTES);
    signal?.throwIfAborted();
    verifyBytes(descriptor, bytes);
    this.keep(descriptor.digest, bytes);
    const call = this.#writing(signal);
    const put = await putManifest(this.#origin, this.#name, descriptor.digest, { descriptor, bytes }, call);
    const referral = put.subjectListed ? undefined : referralIn(descriptor, bytes);
    if (referral === undefined) return;
    const { referrer } = referral;
    await this.#updateReferrers(referral, call, (listed) =>
      listed.some(({ digest }) => digest === referrer.digest) ? undefined : [...listed, referrer],
    );
  }

  async tag(descriptor: Descriptor, tag: string, signal: AbortSignal | undefined): Promise<void> {
    const bytes = await this.fetch(descriptor, signal);
    await putManifest(this.#origin, this.#name, tag, { descriptor, bytes }, this.#writing(signal));
  }

  async delete(descriptor: Descriptor, signal: AbortSignal | undefined): Promise<void> {
    const { digest } = descriptor;
    const referral = await this.#referral(descriptor, signal);
    this.#kept.delete(digest);
    await this.remove(digest, signal);
    if (referral === undefined) return;
    const call = this.#writing(signal);
    if (await hasReferrersApi(this.#origin, this.#name, referral.subject.digest, call)) return;
    await this.#updateReferrers(referral, call, (listed) => {
      const others = listed.filter((entry) => entry.digest !== digest);
      return others.length === listed.length ? undefined : others;
    });
  }

  /** Deletes what a tag or digest names; what is not there is no error. */
  async remove(reference: string, signal: AbortSignal | undefined): Promise<void> {
    const response = await this.#origin.call({
      method: 'DELETE',
      path: manifestPath(this.#name, reference),
      scopes: [repositoryScope(this.#name, 'delete')],
      expect: [202, 200, 204, 404],
      signal,
    });
    await discard(response);
  }

  #writing(signal: AbortSignal | undefined): ManifestCall {
    return { scopes: [repositoryScope(this.#name, 'pull', 'push')], signal };
  }

  /** What a manifest that is about to be deleted refers to; what cannot be read any more is in no one's way. */
  async #referral(descriptor: Descriptor, signal: AbortSignal | undefined): Promise<Referral | undefined> {
    try {
      return referralIn(descriptor, await this.fetch(descriptor, signal));
    } catch (error) {
      signal?.throwIfAborted();
      if (!ContainerError.is(error)) throw error;
      return undefined;
    }
  }

  /** One after the other: two changes at once would each write a list without the other's entry. */
  async #updateReferrers(
    { subject }: Referral,
    call: ManifestCall,
    change: (listed: readonly Descriptor[]) => Descriptor[] | undefined,
  ): Promise<void> {
    const update = this.#referrersUpdate.then(() =>
      updateReferrersTag(this.#origin, this.#name, subject.digest, change, call),
    );
    this.#referrersUpdate = update.catch(() => {});
    await update;
  }
}
