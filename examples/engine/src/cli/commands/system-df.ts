/** `tare system df`: shows what takes space. */
import { defineCommand } from '../command.ts';
import { UsageError } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { decimalSize } from '../format/units.ts';
import { printListing, renderListing, type Listing } from '../output.ts';
import { imageListing, imageRows, type ImageSummary } from './images.ts';
import { listing as containerListing, type ContainerSummary } from './ps.ts';
import { volumeListing, type VolumeSummary } from './volume.ts';

interface BuildCacheRecord {
  Size: number;
  InUse: boolean;
  Shared: boolean;
}

interface DiskUsage {
  LayersSize: number;
  Images: ImageSummary[] | null;
  Containers: ContainerSummary[] | null;
  Volumes: VolumeSummary[] | null;
  BuildCache: BuildCacheRecord[] | null;
}

/** One line of the summary. */
interface UsageRow {
  type: string;
  total: number;
  active: number;
  size: number;
  reclaimable: number;
  /** Whether the share of the size is shown beside the reclaimable bytes. */
  percent: boolean;
}

const listing: Listing<UsageRow> = {
  columns: {
    Type: { header: 'TYPE', value: ({ type }) => type },
    TotalCount: { header: 'TOTAL', value: ({ total }) => String(total) },
    Active: { header: 'ACTIVE', value: ({ active }) => String(active) },
    Size: { header: 'SIZE', value: ({ size }) => decimalSize(size) },
    Reclaimable: {
      header: 'RECLAIMABLE',
      value: ({ size, reclaimable, percent }) => {
        const share = percent && size > 0 ? ` (${Math.trunc((reclaimable * 100) / size)}%)` : '';
        return decimalSize(reclaimable) + share;
      },
    },
  },
  typeName: '*formatter.diskUsageContext',
  table: '{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}',
};

function isActive({ State }: ContainerSummary): boolean {
  return /running|paused|restarting/.test(State);
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

function summary(usage: DiskUsage): UsageRow[] {
  const images = usage.Images ?? [];
  const containers = usage.Containers ?? [];
  const volumes = usage.Volumes ?? [];
  const cache = usage.BuildCache ?? [];
  const usedImages = images.filter(({ Containers }) => Containers > 0);
  const used = sum(usedImages, ({ Size, SharedSize }) =>
    Size === -1 || SharedSize === -1 ? 0 : Size - SharedSize,
  );
  const volumeSize = ({ UsageData }: VolumeSummary): number => Math.max(0, UsageData?.Size ?? 0);
  const isUnused = ({ UsageData }: VolumeSummary): boolean => (UsageData?.RefCount ?? 0) === 0;
  const cacheSize = sum(cache, ({ Size }) => Size);
  return [
    {
      type: 'Images',
      total: images.length,
      active: usedImages.length,
      size: usage.LayersSize,
      reclaimable: usage.LayersSize - used,
      percent: true,
    },
    {
      type: 'Containers',
      total: containers.length,
      active: containers.filter(isActive).length,
      size: sum(containers, ({ SizeRw = 0 }) => SizeRw),
      reclaimable: sum(containers, (container) => (isActive(container) ? 0 : (container.SizeRw ?? 0))),
      percent: true,
    },
    {
      type: 'Local Volumes',
      total: volumes.length,
      active: volumes.filter((volume) => !isUnused(volume)).length,
      size: sum(volumes, volumeSize),
      reclaimable: sum(volumes.filter(isUnused), volumeSize),
      percent: true,
    },
    {
      type: 'Build Cache',
      total: cache.length,
      active: cache.filter(({ InUse }) => InUse).length,
      size: cacheSize,
      reclaimable: sum(cache, ({ InUse, Shared, Size }) => (InUse || Shared ? 0 : Size)),
      percent: false,
    },
  ];
}

/** As `ps -a`, with volumes and without the image's share of the size. */
const containerColumns: Listing<ContainerSummary> = {
  ...containerListing(true, true),
  table:
    '{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}',
};

function verbose(usage: DiskUsage): string {
  const images = renderListing(
    {
      ...imageListing(true, false),
      table:
        '{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}',
    },
    'table',
    // One line an image here, under the first of its names.
    (usage.Images ?? []).flatMap((image) => imageRows([image], false).slice(0, 1)),
  );
  const containers = renderListing(
    containerColumns,
    'table',
    (usage.Containers ?? []).map((container) => ({ ...container, SizeRootFs: 0 })),
  );
  const volumes = renderListing(
    { ...volumeListing, table: '{{.Name}}\t{{.Links}}\t{{.Size}}' },
    'table',
    usage.Volumes ?? [],
  );
  const cache = decimalSize(sum(usage.BuildCache ?? [], ({ Size }) => Size));
  return `Images space usage:

${images}
Containers space usage:

${containers}
Local Volumes space usage:

${volumes}
Build cache usage: ${cache}

CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED
`;
}

/** `system df`. */
export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Show disk usage',
  args: { min: 0 },
  flags: {
    format: string(formatHelp),
    verbose: toggle('Show detailed information on space usage', { short: 'v' }),
  },
  async run({ cli, flags }) {
    if (flags.verbose && flags.format !== '')
      throw new UsageError('the verbose and the format options conflict');
    const usage = await cli.client.json<DiskUsage>('GET', '/system/df');
    if (flags.verbose) cli.stdout.write(verbose(usage));
    else printListing(cli, listing, summary(usage), { format: flags.format });
  },
});
