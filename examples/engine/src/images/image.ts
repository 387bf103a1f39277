/** What the rest of the engine knows of an image, and what images need to know of the rest. */
import type { Digest, ImageConfig } from '@tare/image-spec';

/** One image, as found by a reference. */
export interface Image {
  /** Digest of the config: Docker's image ID. */
  id: Digest;
  /** Familiar names, `busybox:1.37`; sorted. */
  repoTags: string[];
  /** Familiar `repository@digest`s; sorted. */
  repoDigests: string[];
  /** ChainID of all layers: the committed snapshot to prepare a container on; undefined for an image without layers. */
  chainId: Digest | undefined;
  /** ChainIDs of every layer, oldest first. */
  chain: Digest[];
  /** The config document. */
  config: ImageConfig;
  /** Unpacked size of all layers. */
  sizeBytes: number;
  /** When a name was last pointed at it on this engine. */
  taggedAt: Date | undefined;
}

/** A container that keeps an image from being removed. */
export interface ImageUser {
  containerId: string;
  running: boolean;
}

/**
 * Says which containers use an image; the container service implements it.
 *
 * Synchronous on purpose: between resolving an image and recording that a container uses it there must be no `await`,
 * or the image may be removed in between.
 */
export interface ImageUsers {
  usersOf(imageId: Digest): ImageUser[];
}

/** Finds images; what the container service needs of the image service. */
export interface ImageResolver {
  /**
   * The image of `reference`: an id, `sha256:` or not, whole or a unique beginning; a name with an optional tag; a name
   * with a digest.
   *
   * @throws {EngineError} `NOT_FOUND` in Docker's words: `No such image: busybox:latest`
   */
  resolve(reference: string): Image;
}
