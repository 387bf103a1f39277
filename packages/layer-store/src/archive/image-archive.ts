/** What archives of images have in common: an image with its names, and the documents that list it. */
import type { Descriptor } from '@tare/image-spec';
import { z } from 'zod';

/** An image of an archive or layout. */
export interface NamedImage {
  /** Its manifest, or the index of several. */
  descriptor: Descriptor;
  /** As written there: whole references, Docker's short ones, or tags alone; perhaps none. */
  names: string[];
}

/** The document by which `docker save` lists images. */
export const DOCKER_LIST_FILE = 'manifest.json';

/** @see https://github.com/moby/docker-image-spec/blob/main/v1.3.md#combined-image-json--filesystem-changeset-format */
export const dockerListSchema = z.array(
  z.object({
    Config: z.string(),
    RepoTags: z.array(z.string()).nullish(),
    Layers: z
      .array(z.string())
      .nullish()
      .transform((layers) => layers ?? []),
  }),
);

/** One image in the list of `docker save`: names of files in the archive. */
export type DockerListEntry = z.output<typeof dockerListSchema>[number];
