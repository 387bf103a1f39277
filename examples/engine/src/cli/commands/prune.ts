/** `tare prune`: removes what nothing uses, by kind or altogether. */
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { encodeFilters } from '../client.ts';
import { confirm as ask } from '../confirm.ts';
import { CliError } from '../errors.ts';
import { filterFlag, withFilter, type Filters } from '../filter-flag.ts';
import { parsed, toggle } from '../flags.ts';
import { decimalSize } from '../format/units.ts';
import { parseSize } from '../values/size.ts';
import type { RemovalStep } from './rmi.ts';

/** What one prune did: lines for the user, under a heading, and bytes won. */
interface Pruned {
  heading: string;
  lines: string[];
  bytes: number;
}

interface PruneAnswer {
  ContainersDeleted?: string[] | null;
  NetworksDeleted?: string[] | null;
  VolumesDeleted?: string[] | null;
  ImagesDeleted?: RemovalStep[] | null;
  SpaceReclaimed?: number;
}

function prune(cli: Cli, kind: string, filters: Filters): Promise<PruneAnswer> {
  return cli.client.json('POST', `/${kind}/prune`, { query: { filters: encodeFilters(filters) } });
}

async function pruneContainers(cli: Cli, filters: Filters): Promise<Pruned> {
  const answer = await prune(cli, 'containers', filters);
  return {
    heading: 'Deleted Containers:',
    lines: answer.ContainersDeleted ?? [],
    bytes: answer.SpaceReclaimed ?? 0,
  };
}

async function pruneNetworks(cli: Cli, filters: Filters): Promise<Pruned> {
  const answer = await prune(cli, 'networks', filters);
  return { heading: 'Deleted Networks:', lines: answer.NetworksDeleted ?? [], bytes: 0 };
}

async function pruneVolumes(cli: Cli, filters: Filters): Promise<Pruned> {
  const answer = await prune(cli, 'volumes', filters);
  return {
    heading: 'Deleted Volumes:',
    lines: answer.VolumesDeleted ?? [],
    bytes: answer.SpaceReclaimed ?? 0,
  };
}

async function pruneImages(cli: Cli, all: boolean, filters: Filters): Promise<Pruned> {
  const answer = await prune(cli, 'images', withFilter(filters, 'dangling', String(!all)));
  const lines = (answer.ImagesDeleted ?? []).map(({ Untagged, Deleted }) =>
    Deleted === undefined ? `untagged: ${Untagged}` : `deleted: ${Deleted}`,
  );
  return { heading: 'Deleted Images:', lines, bytes: answer.SpaceReclaimed ?? 0 };
}

/** `builder prune`. */
export const builder = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Remove build cache',
  args: { min: 0 },
  flags: {
    all: toggle('Remove all unused build cache, not just dangling ones', { short: 'a' }),
    filter: filterFlag('Provide filter values', ''),
    force: toggle('Do not prompt for confirmation', { short: 'f' }),
    keepStorage: parsed(parseSize, 'bytes', 0, 'Amount of disk space to keep for cache'),
  },
  async run({ cli, flags }) {
    const what = flags.all ? 'all build cache' : 'all dangling build cache';
    await confirm(cli, `WARNING! This will remove ${what}.`, flags.force);
    const { CachesDeleted, SpaceReclaimed } = await cli.client.json<{
      CachesDeleted: string[] | null;
      SpaceReclaimed: number;
    }>('POST', '/build/prune', {
      query: {
        all: flags.all,
        filters: encodeFilters(flags.filter),
        'keep-storage': flags.keepStorage || undefined,
        'reserved-space': flags.keepStorage || undefined,
      },
    });
    const lines = CachesDeleted ?? [];
    if (lines.length > 0) cli.stdout.write(`Deleted build cache objects:\n${lines.join('\n')}\n\n`);
    cli.print(`Total reclaimed space: ${decimalSize(SpaceReclaimed)}`);
  },
});

/** Asks unless `force`; anything but yes ends the command. */
async function confirm(cli: Cli, warning: string, force: boolean): Promise<void> {
  if (force || (await ask(cli, `${warning}\nAre you sure you want to continue?`))) return;
  throw new CliError('operation cancelled');
}

function report(cli: Cli, { heading, lines }: Pruned): void {
  if (lines.length > 0) cli.stdout.write(`${heading}\n${lines.join('\n')}\n\n`);
}

const forceFlag = toggle('Do not prompt for confirmation', { short: 'f' });

/** `<object> prune` without more flags than a filter. */
function simplePrune(
  summary: string,
  warning: string,
  work: (cli: Cli, filters: Filters) => Promise<Pruned>,
  total: boolean,
) {
  return defineCommand({
    usage: '[OPTIONS]',
    summary,
    args: { min: 0 },
    flags: { filter: filterFlag('Provide filter values (e.g. "until=<timestamp>")', ''), force: forceFlag },
    async run({ cli, flags }) {
      await confirm(cli, warning, flags.force);
      const pruned = await work(cli, flags.filter);
      report(cli, pruned);
      if (total) cli.print(`Total reclaimed space: ${decimalSize(pruned.bytes)}`);
    },
  });
}

/** `container prune`. */
export const container = simplePrune(
  'Remove all stopped containers',
  'WARNING! This will remove all stopped containers.',
  pruneContainers,
  true,
);

/** `network prune`. */
export const network = simplePrune(
  'Remove all unused networks',
  'WARNING! This will remove all custom networks not used by at least one container.',
  pruneNetworks,
  false,
);

/** `volume prune`. */
export const volume = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Remove unused local volumes',
  args: { min: 0 },
  flags: {
    all: toggle('Remove all unused volumes, not just anonymous ones', { short: 'a' }),
    filter: filterFlag('Provide filter values (e.g. "label=<label>")', ''),
    force: forceFlag,
  },
  async run({ cli, flags }) {
    const which = flags.all ? 'all local volumes' : 'anonymous local volumes';
    await confirm(cli, `WARNING! This will remove ${which} not used by at least one container.`, flags.force);
    const filters = flags.all ? withFilter(flags.filter, 'all', 'true') : flags.filter;
    const pruned = await pruneVolumes(cli, filters);
    report(cli, pruned);
    cli.print(`Total reclaimed space: ${decimalSize(pruned.bytes)}`);
  },
});

/** `image prune`. */
export const image = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Remove unused images',
  args: { min: 0 },
  flags: {
    all: toggle('Remove all unused images, not just dangling ones', { short: 'a' }),
    filter: filterFlag('Provide filter values (e.g. "until=<timestamp>")', ''),
    force: forceFlag,
  },
  async run({ cli, flags }) {
    const warning = flags.all
      ? 'WARNING! This will remove all images without at least one container associated to them.'
      : 'WARNING! This will remove all dangling images.';
    await confirm(cli, warning, flags.force);
    const pruned = await pruneImages(cli, flags.all, flags.filter);
    report(cli, pruned);
    cli.print(`Total reclaimed space: ${decimalSize(pruned.bytes)}`);
  },
});

/** `system prune`. */
export const system = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Remove unused data',
  args: { min: 0 },
  flags: {
    all: toggle('Remove all unused images not just dangling ones', { short: 'a' }),
    filter: filterFlag('Provide filter values (e.g. "label=<key>=<value>")', ''),
    force: forceFlag,
    volumes: toggle('Prune anonymous volumes'),
  },
  async run({ cli, flags }) {
    const items = [
      'all stopped containers',
      'all networks not used by at least one container',
      ...(flags.volumes ? ['all anonymous volumes not used by at least one container'] : []),
      flags.all ? 'all images without at least one container associated to them' : 'all dangling images',
    ];
    await confirm(
      cli,
      `WARNING! This will remove:\n${items.map((item) => `  - ${item}`).join('\n')}\n`,
      flags.force,
    );
    // Containers first: what they held becomes unused.
    const steps = [
      () => pruneContainers(cli, flags.filter),
      () => pruneNetworks(cli, flags.filter),
      ...(flags.volumes ? [() => pruneVolumes(cli, flags.filter)] : []),
      () => pruneImages(cli, flags.all, flags.filter),
    ];
    let bytes = 0;
    for (const step of steps) {
      const pruned = await step();
      bytes += pruned.bytes;
      report(cli, pruned);
    }
    cli.print(`Total reclaimed space: ${decimalSize(bytes)}`);
  },
});
