/** How an image came to be: one entry a build step, newest first. */
import { parseTimestamp } from '../time.ts';
import type { Image } from './image.ts';
import type { Images } from './images.ts';

/** One step. */
export interface HistoryEntry {
  /** The image's id for the newest step, `<missing>` for the others: what they were built as is not here. */
  id: string;
  createdS: number;
  createdBy: string;
  tags: string[] | null;
  /** Of the layer this step made; 0 when it made none. */
  sizeBytes: number;
  comment: string;
}

/** The history of an image. Layers that the config's history does not mention get an entry of their own. */
export function imageHistory(images: Images, image: Image): HistoryEntry[] {
  const sizes = images.table.layerSizes();
  const layers = image.chain.map((chainId) => sizes.get(chainId) ?? 0);
  const entries: HistoryEntry[] = [];
  for (const step of image.config.history ?? []) {
    const ns = step.created === undefined ? undefined : parseTimestamp(step.created);
    entries.push({
      id: '<missing>',
      createdS: ns === undefined ? 0 : Number(ns / 1_000_000_000n),
      createdBy: step.created_by ?? '',
      tags: null,
      sizeBytes: step.empty_layer === true ? 0 : (layers.shift() ?? 0),
      comment: step.comment ?? '',
    });
  }
  for (const sizeBytes of layers) {
    entries.push({ id: '<missing>', createdS: 0, createdBy: '', tags: null, sizeBytes, comment: '' });
  }
  const newest = entries.at(-1);
  if (newest) {
    newest.id = image.id;
    newest.tags = image.repoTags.length > 0 ? image.repoTags : null;
  }
  return entries.reverse();
}
