/** `tare ps`: lists containers. */
import { defineCommand } from '../command.ts';
import { encodeFilters } from '../client.ts';
import { filterFlag } from '../filter-flag.ts';
import { CliError, messageOf } from '../errors.ts';
import { integer, string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { ago, decimalSize, ellipsis, shortId } from '../format/units.ts';
import { TemplateSyntaxError } from '../format/go-template-parser.ts';
import { displayPorts, type PortEntry } from '../format/port-list.ts';
import { printListing, renderListing, type Listing } from '../output.ts';

/** A container as the API lists it. */
export interface ContainerSummary {
  Id: string;
  Names: string[] | null;
  Image: string;
  ImageID: string;
  Command: string;
  Created: number;
  Ports: PortEntry[] | null;
  Labels: Record<string, string> | null;
  State: string;
  Status: string;
  SizeRw?: number;
  SizeRootFs?: number;
  NetworkSettings?: { Networks: Record<string, unknown> | null };
  Mounts?: { Type: string; Name?: string; Source?: string; Driver?: string }[] | null;
  ImageManifestDescriptor?: { platform?: { os: string; architecture: string; variant?: string } };
}

/** Columns of `ps`; `truncate` shortens identifiers, commands and mounts. */
export function listing(truncate: boolean, withSize: boolean): Listing<ContainerSummary> {
  const names = (row: ContainerSummary): string[] => (row.Names ?? []).map((name) => name.replace(/^\//, ''));
  const mounts = (row: ContainerSummary): string[] =>
    (row.Mounts ?? []).map(({ Name, Source }) => {
      const name = Name || Source || '';
      return truncate ? ellipsis(name, 15) : name;
    });
  return {
    columns: {
      ID: { header: 'CONTAINER ID', value: (row) => (truncate ? shortId(row.Id) : row.Id) },
      Names: {
        header: 'NAMES',
        // A linked container is also listed as `/other/alias`; only its own names are shown.
        value: (row) => (truncate ? names(row).filter((name) => !name.includes('/')) : names(row)).join(','),
      },
      Image: { header: 'IMAGE', value: (row) => imageOf(row, truncate) },
      Command: {
        header: 'COMMAND',
        value: ({ Command }) => JSON.stringify(truncate ? ellipsis(Command, 20) : Command),
      },
      CreatedAt: { header: 'CREATED AT', value: ({ Created }) => goTime(Created) },
      RunningFor: { header: 'CREATED', value: ({ Created }) => ago(Created, Date.now()) },
      Ports: { header: 'PORTS', value: ({ Ports }) => displayPorts(Ports ?? []) },
      State: { header: 'STATE', value: ({ State }) => State },
      Status: { header: 'STATUS', value: ({ Status }) => Status },
      Size: { header: 'SIZE', value: sizeOf },
      Labels: {
        header: 'LABELS',
        value: ({ Labels }) =>
          Object.entries(Labels ?? {})
            .map(([key, value]) => `${key}=${value}`)
            .join(','),
      },
      Mounts: { header: 'MOUNTS', value: (row) => mounts(row).join(',') },
      LocalVolumes: {
        header: 'LOCAL VOLUMES',
        value: ({ Mounts }) => String((Mounts ?? []).filter(({ Driver }) => Driver === 'local').length),
      },
      Networks: {
        header: 'NETWORKS',
        value: ({ NetworkSettings }) => Object.keys(NetworkSettings?.Networks ?? {}).join(','),
      },
      Platform: { header: 'PLATFORM', value: platformOf },
    },
    typeName: '*formatter.ContainerContext',
    methods: { Label: ({ Labels }, name) => Labels?.[String(name)] ?? '' },
    table: `{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}${withSize ? '\t{{.Size}}' : ''}`,
  };
}

/** An image given by id is shown short, and one whose name has moved on is listed by id by the daemon. */
function imageOf({ Image, ImageID }: ContainerSummary, truncate: boolean): string {
  if (Image === '') return '<no image>';
  if (!truncate) return Image;
  if (shortId(ImageID) === shortId(Image)) return shortId(Image);
  return Image.replace(/@sha256:[0-9a-f]{64}$/, '');
}

function sizeOf({ SizeRw = 0, SizeRootFs = 0 }: ContainerSummary): string {
  const size = decimalSize(SizeRw, 3);
  return SizeRootFs > 0 ? `${size} (virtual ${decimalSize(SizeRootFs, 3)})` : size;
}

function platformOf({ ImageManifestDescriptor }: ContainerSummary): string | null {
  const platform = ImageManifestDescriptor?.platform;
  return platform ? [platform.os, platform.architecture, platform.variant].filter(Boolean).join('/') : null;
}

/** A moment the way Go prints one: `2026-11-23 20:56:41 +0000 UTC`. */
export function goTime(unixSeconds: number): string {
  const iso = new Date(unixSeconds * 1000).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} +0000 UTC`;
}

/** Finds a faulty template before the daemon is asked. */
function checkFormat(format: string): void {
  try {
    renderListing(listing(true, false), format, [blank]);
  } catch (error) {
    const stage = (error as Error).cause instanceof TemplateSyntaxError ? 'parse' : 'execute';
    throw new CliError(messageOf(error).replace('template parsing error:', `failed to ${stage} template:`), {
      cause: error,
    });
  }
}

const blank: ContainerSummary = {
  Id: '',
  Names: null,
  Image: '',
  ImageID: '',
  Command: '',
  Created: 0,
  Ports: null,
  Labels: null,
  State: '',
  Status: '',
};

/** `ps`. */
export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: 'List containers',
  args: { min: 0 },
  flags: {
    all: toggle('Show all containers (default shows just running)', { short: 'a' }),
    filter: filterFlag('Filter output based on conditions provided'),
    format: string(formatHelp),
    last: integer('Show n last created containers (includes all states)', { short: 'n', initial: -1 }),
    latest: toggle('Show the latest created container (includes all states)', { short: 'l' }),
    noTrunc: toggle("Don't truncate output"),
    quiet: toggle('Only display container IDs', { short: 'q' }),
    size: toggle('Display total file sizes', { short: 's' }),
  },
  async run({ cli, flags, given }) {
    const format = flags.format || (flags.quiet ? '' : (cli.config.format('ps') ?? ''));
    checkFormat(format);
    const limit = flags.latest && flags.last === -1 ? 1 : flags.last;
    // Sizes are slow to find out: asked for only when a template shows them, or by the flag.
    const size = given.has('size') ? flags.size : /\.Size\b|json \.\s*[}|]/.test(format);
    const rows = await cli.client.json<ContainerSummary[]>('GET', '/containers/json', {
      query: {
        all: flags.all,
        limit: limit > 0 ? limit : undefined,
        size,
        filters: encodeFilters(flags.filter),
      },
    });
    const shown = listing(!flags.noTrunc, size && flags.size);
    printListing(cli, shown, rows, {
      format,
      quiet: flags.quiet,
      idOf: (row) => (flags.noTrunc ? row.Id : shortId(row.Id)),
    });
  },
});
