/** Gives an image another name. */
import { familiarReference } from '@tare/image-spec';
import type { Images } from './images.ts';
import { canonicalTag, parseTagParameters } from './names.ts';

/**
 * Points `repo:tag` at the image of `reference`; a name that pointed elsewhere moves. `tag` may be empty.
 *
 * @throws {EngineError} `NOT_FOUND` for the image, `INVALID` for the name
 */
export function tagImage(images: Images, reference: string, repo: string, tag: string): void {
  const { id, config } = images.resolve(reference);
  const name = parseTagParameters(repo, tag);
  images.table.putTag(canonicalTag(name), id, new Date());
  images.emit('tag', id, familiarReference(name), config.config?.Labels);
}
