import { defineCommand } from '../command.ts';
import { parseImageName } from '../values/image-name.ts';

export const command = defineCommand({
  usage: 'SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]',
  summary: 'Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE',
  args: { min: 2 },
  flags: {},
  async run({ cli, args: [source, target] }) {
    const name = parseImageName(target!);
    const repo = parseImageName(name.repository, { defaultTag: false }).familiar;
    await cli.client.text('POST', `/images/${source}/tag`, { query: { repo, tag: name.target } });
  },
});
