/** `volume ls`, `create`, `rm`. */
import { defineCommand } from '../command.ts';
import { encodeFilters } from '../client.ts';
import { forEach } from '../each.ts';
import { UsageError } from '../errors.ts';
import { filterFlag } from '../filter-flag.ts';
import { list, string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { decimalSize } from '../format/units.ts';
import { printListing, type Listing } from '../output.ts';
import { keyValueMap } from '../values/key-value.ts';
import { byName } from './network.ts';

/** A volume as the API lists it; `UsageData` only comes with `system df`. */
export interface VolumeSummary {
  Name: string;
  Driver: string;
  Mountpoint: string;
  Scope: string;
  Labels: Record<string, string> | null;
  UsageData?: { Size: number; RefCount: number } | null;
}

/** Columns of `volume ls` and of volumes in `system df -v`. */
export const volumeListing: Listing<VolumeSummary> = {
  columns: {
    Availability: { header: 'AVAILABILITY', value: () => 'N/A' },
    Driver: { header: 'DRIVER', value: ({ Driver }) => Driver },
    Group: { header: 'GROUP', value: () => 'N/A' },
    Name: { header: 'VOLUME NAME', value: ({ Name }) => Name },
    Labels: {
      header: 'LABELS',
      value: ({ Labels }) =>
        Object.entries(Labels ?? {})
          .map(([key, value]) => `${key}=${value}`)
          .join(','),
    },
    Links: { header: 'LINKS', value: ({ UsageData }) => (UsageData ? String(UsageData.RefCount) : 'N/A') },
    Mountpoint: { header: 'MOUNTPOINT', value: ({ Mountpoint }) => Mountpoint },
    Scope: { header: 'SCOPE', value: ({ Scope }) => Scope },
    Size: { header: 'SIZE', value: ({ UsageData }) => (UsageData ? decimalSize(UsageData.Size) : 'N/A') },
    Status: { header: 'STATUS', value: () => 'N/A' },
  },
  methods: { Label: ({ Labels }, name) => Labels?.[String(name)] ?? '' },
  typeName: '*formatter.volumeContext',
  table: '{{.Driver}}\t{{.Name}}',
};

/** `volume ls`. */
export const ls = defineCommand({
  usage: '[OPTIONS]',
  summary: 'List volumes',
  args: { min: 0 },
  flags: {
    filter: filterFlag('Provide filter values (e.g. "dangling=true")'),
    format: string(formatHelp),
    quiet: toggle('Only display volume names', { short: 'q' }),
  },
  async run({ cli, flags }) {
    const { Volumes } = await cli.client.json<{ Volumes: VolumeSummary[] | null }>('GET', '/volumes', {
      query: { filters: encodeFilters(flags.filter) },
    });
    printListing(cli, volumeListing, (Volumes ?? []).sort(byName), {
      format: flags.format || (flags.quiet ? '' : (cli.config.format('volumes') ?? '')),
      quiet: flags.quiet,
      idOf: ({ Name }) => Name,
    });
  },
});

/** `volume create`. */
export const create = defineCommand({
  usage: '[OPTIONS] [VOLUME]',
  summary: 'Create a volume',
  args: { min: 0, max: 1 },
  flags: {
    driver: string('Specify volume driver name', { short: 'd', initial: 'local' }),
    label: list('Set metadata for a volume'),
    name: string('Specify volume name'),
    opt: list('Set driver specific options', { short: 'o', placeholder: 'map' }),
  },
  async run({ cli, flags, args }) {
    if (args[0] !== undefined && flags.name !== '') {
      throw new UsageError(
        'conflicting options: cannot specify a volume-name through both --name and as a positional arg',
      );
    }
    const name = args[0] ?? flags.name;
    const volume = await cli.client.json<VolumeSummary>('POST', '/volumes/create', {
      json: {
        ...(name && { Name: name }),
        Driver: flags.driver,
        ...(flags.opt.length > 0 && { DriverOpts: keyValueMap(flags.opt) }),
        ...(flags.label.length > 0 && { Labels: keyValueMap(flags.label) }),
      },
    });
    cli.print(volume.Name);
  },
});

/** `volume rm`. */
export const rm = defineCommand({
  usage: '[OPTIONS] VOLUME [VOLUME...]',
  summary: 'Remove one or more volumes',
  args: { min: 1, max: Infinity },
  flags: { force: toggle('Force the removal of one or more volumes', { short: 'f' }) },
  async run({ cli, flags, args }) {
    await forEach(cli, args, async (name) => {
      await cli.client.text('DELETE', `/volumes/${name}`, { query: { force: flags.force } });
      return name;
    });
  },
});
