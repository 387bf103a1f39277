/** `tare tag`: gives an image another name. */
import { defineCommand } from '../command.ts';
import { UsageError, messageOf } from '../errors.ts';
import { parseImageName, type ImageName } from '../values/image-name.ts';

/** `tag`. */
export const command = defineCommand({
  usage: 'SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]',
  summary: 'Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE',
  args: { min: 2 },
  flags: {},
  async run({ cli, args: [source, target] }) {
    const name = parseTarget(target!);
    if (name.target.includes(':')) throw new UsageError('refusing to create a tag with a digest reference');
    const repo = parseImageName(name.repository, { defaultTag: false }).familiar;
    await cli.client.text('POST', `/images/${source}/tag`, { query: { repo, tag: name.target } });
  },
});

function parseTarget(text: string): ImageName {
  try {
    return parseImageName(text);
  } catch (cause) {
    const name = JSON.stringify(text);
    throw new UsageError(
      `Error parsing reference: ${name} is not a valid repository/tag: ${messageOf(cause)}`,
      { cause },
    );
  }
}
