/** The image config: how to run an image, its layers before compression (diffIDs), its history; and chain ids. */
import { z } from 'zod';
import { digestSchema, type Descriptor } from './descriptor.ts';
import { digestOf, type Digest } from './digest.ts';
import { checkShape, decodeObject, emptyable } from './document.ts';
import { ImageSpecError } from './errors.ts';
import type { ImageManifest } from './manifest.ts';

const strings = emptyable(z.array(z.string()));
/** Docker also wrote a command as one string. */
const command = emptyable(z.union([z.array(z.string()), z.string().transform((word) => [word])]));
/** A set, written by Go as a map to empty structs. */
const nameSet = emptyable(z.record(z.string(), z.unknown()));

/** Docker's health check. Durations are in nanoseconds; 0 or absent means inherit. */
export const healthcheckSchema = z.looseObject({
  /** `[]` inherits, `['NONE']` disables, else `['CMD', …]` or `['CMD-SHELL', command]`. */
  Test: strings,
  Interval: z.number().optional(),
  Timeout: z.number().optional(),
  StartPeriod: z.number().optional(),
  StartInterval: z.number().optional(),
  Retries: z.number().optional(),
});

/**
 * The `config` object: defaults for running a container, OCI's fields and Docker's.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#properties
 */
export const containerConfigSchema = z.looseObject({
  User: z.string().optional(),
  /** Keys are `port/protocol`. */
  ExposedPorts: nameSet,
  /** `NAME=value`, in order. */
  Env: strings,
  Entrypoint: command,
  Cmd: command,
  /** Keys are paths inside the container. */
  Volumes: nameSet,
  WorkingDir: z.string().optional(),
  Labels: emptyable(z.record(z.string(), z.string())),
  StopSignal: z.string().optional(),
  ArgsEscaped: z.boolean().optional(),
  // Docker's own
  Healthcheck: emptyable(healthcheckSchema),
  OnBuild: strings,
  Shell: strings,
  /** In seconds. */
  StopTimeout: emptyable(z.number()),
  Hostname: z.string().optional(),
  Domainname: z.string().optional(),
  AttachStdin: z.boolean().optional(),
  AttachStdout: z.boolean().optional(),
  AttachStderr: z.boolean().optional(),
  Tty: z.boolean().optional(),
  OpenStdin: z.boolean().optional(),
  StdinOnce: z.boolean().optional(),
});

/** One step of an image's making. */
export const historySchema = z.looseObject({
  created: emptyable(z.string()),
  author: z.string().optional(),
  created_by: z.string().optional(),
  comment: z.string().optional(),
  /** True when the step made no layer. */
  empty_layer: z.boolean().optional(),
});

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md */
export const imageConfigSchema = z.looseObject({
  /** RFC 3339. */
  created: emptyable(z.string()),
  author: z.string().optional(),
  // required by the spec, yet missing in images of some old builders: those read as the empty string
  architecture: z.string().default(''),
  os: z.string().default(''),
  'os.version': z.string().optional(),
  'os.features': strings,
  variant: z.string().optional(),
  config: emptyable(containerConfigSchema),
  rootfs: z.looseObject({
    type: z.literal('layers'),
    /** Digests of the uncompressed layer tars, oldest first. */
    diff_ids: z
      .array(digestSchema)
      .nullable()
      .transform((ids) => ids ?? []),
  }),
  history: emptyable(z.array(historySchema)),
  // Docker's own
  container_config: emptyable(containerConfigSchema),
  docker_version: z.string().optional(),
});

/** How an image is to be run and what it consists of. Unknown keys are kept. */
export type ImageConfig = z.output<typeof imageConfigSchema>;
/** Defaults for running a container of an image. */
export type ContainerConfig = z.output<typeof containerConfigSchema>;
/** Docker's health check. */
export type Healthcheck = z.output<typeof healthcheckSchema>;
/** One step of an image's making. */
export type History = z.output<typeof historySchema>;

/**
 * Parses the bytes of an image config. The caller has verified them against the descriptor's digest.
 *
 * @param descriptor names the config in errors
 * @throws {ImageSpecError} `INVALID_DOCUMENT` with the JSON paths, `TOO_LARGE`
 */
export function parseImageConfig(bytes: Uint8Array, descriptor: Descriptor): ImageConfig {
  const what = `image config ${descriptor.digest}`;
  return checkShape(imageConfigSchema, decodeObject(bytes, what), what);
}

/** One layer, with everything that manifest and config say of it. */
export interface ImageLayer {
  /** The compressed blob. */
  descriptor: Descriptor;
  /** Digest of the uncompressed tar. */
  diffId: Digest;
  /** Identity of the file system that this layer and all below it make; see {@link chainIds}. */
  chainId: Digest;
}

/**
 * Pairs the layers of a manifest with the diffIDs of its config, oldest first.
 *
 * @throws {ImageSpecError} `INVALID_DOCUMENT` when their numbers differ
 */
export async function imageLayers(manifest: ImageManifest, config: ImageConfig): Promise<ImageLayer[]> {
  const diffIds = config.rootfs.diff_ids;
  if (manifest.layers.length !== diffIds.length) {
    throw new ImageSpecError(
      'INVALID_DOCUMENT',
      `manifest and config of image ${manifest.config.digest} disagree: ${manifest.layers.length} layers, ${diffIds.length} diff_ids`,
    );
  }
  const chain = await chainIds(diffIds);
  return manifest.layers.map((descriptor, i) => ({ descriptor, diffId: diffIds[i]!, chainId: chain[i]! }));
}

/**
 * The chain id of every layer, oldest first: that of the first layer is its diffID, every other is the sha256 of the
 * chain id below it, a space, and its own diffID. Two images share a prefix of file systems exactly when they share a
 * prefix of chain ids.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#layer-chainid
 */
export async function chainIds(diffIds: readonly Digest[]): Promise<Digest[]> {
  const chain: Digest[] = [];
  const encoder = new TextEncoder();
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : await digestOf(encoder.encode(`${below} ${diffId}`)));
  }
  return chain;
}

/** Digest of an archive that ends where it begins. */
const EMPTY_ARCHIVE = 'sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef';

/** Whether a layer changes nothing: steps with such a layer are listed in the history and have none in the image. */
export function isEmptyLayer(diffId: Digest): boolean {
  return diffId === EMPTY_ARCHIVE;
}
