/** `tare history`: shows how an image came to be. */
import { defineCommand } from '../command.ts';
import { string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { ago, decimalSize, ellipsis, shortId } from '../format/units.ts';
import { printListing, type Listing } from '../output.ts';
import { platformJson } from '../values/platform.ts';

interface HistoryEntry {
  Id: string;
  Created: number;
  CreatedBy: string;
  Comment: string;
  Size: number;
}

function listing(truncate: boolean, human: boolean): Listing<HistoryEntry> {
  const createdAt = ({ Created }: HistoryEntry): string =>
    `${new Date(Created * 1000).toISOString().slice(0, 19)}Z`;
  return {
    columns: {
      ID: { header: 'IMAGE', value: ({ Id }) => (truncate && Id !== '<missing>' ? shortId(Id) : Id) },
      CreatedSince: {
        header: human ? 'CREATED' : 'CREATED AT',
        value: (row) => (human ? (row.Created > 0 ? ago(row.Created, Date.now()) : 'N/A') : createdAt(row)),
      },
      CreatedAt: { header: 'CREATED AT', value: createdAt },
      CreatedBy: {
        header: 'CREATED BY',
        value: ({ CreatedBy }) => {
          const text = CreatedBy.replaceAll('\t', ' ');
          return truncate ? ellipsis(text, 45) : text;
        },
      },
      Size: { header: 'SIZE', value: ({ Size }) => (human ? decimalSize(Size, 3) : String(Size)) },
      Comment: { header: 'COMMENT', value: ({ Comment }) => Comment },
    },
    typeName: '*image.historyContext',
    table: '{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}',
  };
}

/** `history`. */
export const command = defineCommand({
  usage: '[OPTIONS] IMAGE',
  summary: 'Show the history of an image',
  args: { min: 1 },
  flags: {
    format: string(formatHelp),
    human: toggle('Print sizes and dates in human readable format', { short: 'H', initial: true }),
    noTrunc: toggle("Don't truncate output"),
    platform: string('Show history for the given platform'),
    quiet: toggle('Only show image IDs', { short: 'q' }),
  },
  async run({ cli, flags, args }) {
    const rows = await cli.client.json<HistoryEntry[]>('GET', `/images/${args[0]}/history`, {
      query: { platform: platformJson(flags.platform) },
    });
    printListing(cli, listing(!flags.noTrunc, flags.human), rows, {
      format: flags.format,
      quiet: flags.quiet,
      idOf: ({ Id }) => (flags.noTrunc || Id === '<missing>' ? Id : shortId(Id)),
    });
  },
});
