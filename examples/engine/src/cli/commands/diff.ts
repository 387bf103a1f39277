/** `tare diff`: lists what a container changed in its image. */
import { defineCommand } from '../command.ts';
import { UsageError } from '../errors.ts';
import { string } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { printListing, type Listing } from '../output.ts';

interface Change {
  Path: string;
  Kind: number;
}

const KINDS = ['C', 'A', 'D'];

const listing: Listing<Change> = {
  columns: {
    Type: { header: 'CHANGE TYPE', value: ({ Kind }) => KINDS[Kind] ?? '' },
    Path: { header: 'PATH', value: ({ Path }) => Path },
  },
  typeName: '*container.diffContext',
  table: '{{.Type}}\t{{.Path}}',
};

/** `diff`. */
export const command = defineCommand({
  usage: 'CONTAINER',
  summary: "Inspect changes to files or directories on a container's filesystem",
  args: { min: 1 },
  flags: { format: string(formatHelp) },
  async run({ cli, flags, args }) {
    const [container] = args as [string];
    if (container === '') throw new UsageError('Container name cannot be empty');
    const changes = await cli.client.json<Change[] | null>('GET', `/containers/${container}/changes`);
    printListing(cli, listing, changes ?? [], { format: flags.format || '{{.Type}} {{.Path}}' });
  },
});
