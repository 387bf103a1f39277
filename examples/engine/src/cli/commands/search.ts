/** `tare search`: finds images of a registry. */
import { encodeFilters } from '../client.ts';
import { defineCommand } from '../command.ts';
import { encodeAuth } from '../config-file.ts';
import { filterFlag } from '../filter-flag.ts';
import { integer, string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { ellipsis } from '../format/units.ts';
import { printListing, type Listing } from '../output.ts';
import { parseImageName } from '../values/image-name.ts';

interface Found {
  name: string;
  description: string;
  star_count: number;
  is_official: boolean;
}

function listing(truncate: boolean, json: boolean): Listing<Found> {
  return {
    columns: {
      Name: { header: 'NAME', value: ({ name }) => name },
      Description: {
        header: 'DESCRIPTION',
        value: ({ description }) => {
          const text = description.replaceAll(/[\n\r]/g, ' ');
          return truncate ? ellipsis(text, 45) : text;
        },
      },
      StarCount: { header: 'STARS', value: ({ star_count: stars }) => String(stars) },
      IsOfficial: {
        header: 'OFFICIAL',
        value: ({ is_official: official }) => (json ? String(official) : official ? '[OK]' : ''),
      },
    },
    typeName: '*search.searchContext',
    table: '{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}',
  };
}

/** `search`. */
export const command = defineCommand({
  usage: '[OPTIONS] TERM',
  summary: 'Search a registry for images',
  args: { min: 1 },
  flags: {
    filter: filterFlag('Filter output based on conditions provided'),
    format: string(formatHelp),
    limit: integer('Max number of search results'),
    noTrunc: toggle("Don't truncate output"),
  },
  async run({ cli, flags, args }) {
    const term = args[0]!;
    // a term may begin with a registry, for which there may be a login
    const registry = /^[^/]*[.:][^/]*\/|^localhost\//.test(term)
      ? parseImageName(term).registry
      : 'docker.io';
    const rows = await cli.client.json<Found[]>('GET', '/images/search', {
      query: {
        term,
        limit: flags.limit > 0 ? flags.limit : undefined,
        filters: encodeFilters(flags.filter),
      },
      headers: { 'X-Registry-Auth': encodeAuth(await cli.config.credentials(registry)) },
    });
    const json = flags.format === 'json' || flags.format === '{{json .}}';
    printListing(cli, listing(!flags.noTrunc, json), rows, { format: flags.format });
  },
});
