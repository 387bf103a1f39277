/** `tare stats`: shows what containers use. */
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { DaemonError, ManyErrors } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { parseJson } from '../format/json-text.ts';
import { binarySize, decimalSize, shortId } from '../format/units.ts';
import { renderListing, type Listing } from '../output.ts';

interface CpuStats {
  cpu_usage: { total_usage: number; percpu_usage?: number[] | null };
  system_cpu_usage?: number | bigint;
  online_cpus?: number;
}

interface StatsSample {
  name?: string;
  id?: string;
  cpu_stats: CpuStats;
  precpu_stats: CpuStats;
  memory_stats: { usage?: number; limit?: number | bigint; stats?: Record<string, number | bigint> };
  blkio_stats: { io_service_bytes_recursive?: { op: string; value: number }[] | null };
  networks?: Record<string, { rx_bytes: number; tx_bytes: number }>;
  pids_stats: { current?: number };
}

/** One line; numbers are undefined while a container gives no answer. */
interface StatsRow {
  container: string;
  id: string;
  name: string;
  sample: StatsSample | undefined;
}

const missing = '--';

function cpuPercent({ cpu_stats: now, precpu_stats: before }: StatsSample): number {
  const used = Number(now.cpu_usage.total_usage) - Number(before.cpu_usage.total_usage);
  const total = Number(now.system_cpu_usage ?? 0) - Number(before.system_cpu_usage ?? 0);
  const cpus = now.online_cpus || now.cpu_usage.percpu_usage?.length || 0;
  return total > 0 && used > 0 ? (used / total) * cpus * 100 : 0;
}

/** Without the page cache that the kernel would give back first. cgroup v1 calls it `total_inactive_file`. */
function memoryUsed({ memory_stats: { usage = 0, stats = {} } }: StatsSample): number {
  const cache = Number(stats['total_inactive_file'] ?? stats['inactive_file'] ?? 0);
  return cache < Number(usage) ? Number(usage) - cache : Number(usage);
}

function memoryPercent(sample: StatsSample): number {
  const limit = Number(sample.memory_stats.limit ?? 0);
  return limit === 0 ? 0 : (memoryUsed(sample) / limit) * 100;
}

function blockTraffic({ blkio_stats: { io_service_bytes_recursive } }: StatsSample): string {
  let read = 0;
  let written = 0;
  for (const { op, value } of io_service_bytes_recursive ?? []) {
    if (/^r/i.test(op)) read += value;
    else if (/^w/i.test(op)) written += value;
  }
  return `${decimalSize(read, 3)} / ${decimalSize(written, 3)}`;
}

function networkTraffic({ networks = {} }: StatsSample): string {
  let received = 0;
  let sent = 0;
  for (const { rx_bytes, tx_bytes } of Object.values(networks)) {
    received += rx_bytes;
    sent += tx_bytes;
  }
  return `${decimalSize(received, 3)} / ${decimalSize(sent, 3)}`;
}

function listing(truncate: boolean): Listing<StatsRow> {
  const of =
    (render: (sample: StatsSample) => string, absent = missing) =>
    ({ sample }: StatsRow): string =>
      sample ? render(sample) : absent;
  return {
    columns: {
      Container: { header: 'CONTAINER', value: ({ container }) => container },
      ID: { header: 'CONTAINER ID', value: ({ id }) => (truncate ? shortId(id) : id) },
      Name: { header: 'NAME', value: ({ name }) => name || missing },
      CPUPerc: { header: 'CPU %', value: of((sample) => `${cpuPercent(sample).toFixed(2)}%`) },
      MemUsage: {
        header: 'MEM USAGE / LIMIT',
        value: of(
          (sample) =>
            `${binarySize(memoryUsed(sample))} / ${binarySize(Number(sample.memory_stats.limit ?? 0))}`,
          `${missing} / ${missing}`,
        ),
      },
      MemPerc: { header: 'MEM %', value: of((sample) => `${memoryPercent(sample).toFixed(2)}%`) },
      NetIO: { header: 'NET I/O', value: of(networkTraffic) },
      BlockIO: { header: 'BLOCK I/O', value: of(blockTraffic) },
      PIDs: { header: 'PIDS', value: of((sample) => String(sample.pids_stats.current ?? 0)) },
    },
    typeName: '*container.statsContext',
    table:
      '{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}',
  };
}

function isEmpty({ id, cpu_stats }: StatsSample): boolean {
  return !id && !cpu_stats;
}

function toRow(container: string, sample: StatsSample): StatsRow {
  const name = (sample.name ?? '').replace(/^\//, '');
  return { container, id: sample.id || container, name, sample: isEmpty(sample) ? undefined : sample };
}

/** `stats`. */
export const command = defineCommand({
  usage: '[OPTIONS] [CONTAINER...]',
  summary: 'Display a live stream of container(s) resource usage statistics',
  args: { min: 0, max: Infinity },
  flags: {
    all: toggle('Show all containers (default shows just running)', { short: 'a' }),
    format: string(formatHelp),
    noStream: toggle('Disable streaming stats and only pull the first result'),
    noTrunc: toggle('Do not truncate output'),
  },
  async run({ cli, flags, args }) {
    const names = args.length > 0 ? args : await listContainers(cli, flags.all);
    const format = flags.format || (cli.config.format('stats') ?? '');
    const rows: StatsRow[] = [];
    const failures: DaemonError[] = [];
    for (const answer of await Promise.all(names.map((name) => once(cli, name)))) {
      if (answer instanceof DaemonError) failures.push(answer);
      else rows.push(answer);
    }
    if (failures.length > 0) throw new ManyErrors(failures);
    if (flags.noStream) cli.stdout.write(renderListing(listing(!flags.noTrunc), format, rows));
    else {
      await follow(cli, rows, listing(!flags.noTrunc), format);
      await cli.client.stillThere();
    }
  },
});

async function listContainers(cli: Cli, all: boolean): Promise<string[]> {
  const containers = await cli.client.json<{ Id: string }[]>('GET', '/containers/json', { query: { all } });
  return containers.map(({ Id }) => shortId(Id));
}

async function once(cli: Cli, name: string): Promise<StatsRow | DaemonError> {
  try {
    return toRow(name, await cli.client.json('GET', `/containers/${name}/stats`, { query: { stream: '0' } }));
  } catch (error) {
    if (error instanceof DaemonError) return error;
    throw error;
  }
}

/** Redraws in place twice a second until every container has ended or the user leaves. */
async function follow(cli: Cli, rows: StatsRow[], shown: Listing<StatsRow>, format: string): Promise<void> {
  const draw = (): void => {
    const text = renderListing(shown, format, rows);
    // Home, each line cleared to its end, then everything below: no flicker, unlike clearing the screen.
    cli.stdout.write(cli.stdout.isTTY ? `\x1b[H${text.replaceAll('\n', '\x1b[K\n')}\x1b[J` : text);
  };
  if (cli.stdout.isTTY) cli.stdout.write('\x1b[2J');
  draw();
  const timer = setInterval(draw, 500);
  try {
    await Promise.all(
      rows.map(async (row) => {
        const response = await cli.client.call('GET', `/containers/${row.container}/stats`, {
          query: { stream: '1' },
        });
        response.setEncoding('utf8');
        let rest = '';
        for await (const chunk of response) {
          const lines = (rest + (chunk as string)).split('\n');
          rest = lines.pop()!;
          const latest = lines.findLast((line) => line.trim() !== '');
          if (latest) Object.assign(row, toRow(row.container, parseJson(latest) as unknown as StatsSample));
        }
        row.sample = undefined;
      }),
    );
    draw();
  } finally {
    clearInterval(timer);
  }
}
