/** `tare jobs`: lists the engine's own work. */
import { defineCommand } from '../command.ts';
import { string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { ago, decimalSize, ellipsis, shortId } from '../format/units.ts';
import { printListing, type Listing } from '../output.ts';

/** A Job as `GET /jobs` renders it. */
interface Job {
  Id: string;
  Kind: string;
  Subject: string;
  State: string;
  Progress: { Message: string; Current: number; Total: number } | null;
  ParentId: string;
  StartedAt: string;
  DurationMs: number;
  Error: string;
}

/** A Job and how deep below the Job that asked for it. */
interface JobRow extends Job {
  depth: number;
}

function progressOf({ Progress, Error: failure }: Job): string {
  if (failure) return failure;
  if (!Progress) return '';
  const { Message, Current, Total } = Progress;
  const amount =
    Total > 0 ? `${decimalSize(Current)}/${decimalSize(Total)}` : Current > 0 ? decimalSize(Current) : '';
  return [Message, amount].filter(Boolean).join(' ');
}

function listing(truncate: boolean): Listing<JobRow> {
  const cut = (text: string, columns: number): string => (truncate ? ellipsis(text, columns) : text);
  return {
    columns: {
      ID: { header: 'JOB ID', value: ({ Id }) => (truncate ? shortId(Id) : Id) },
      Kind: { header: 'KIND', value: ({ Kind, depth }) => `${'  '.repeat(depth)}${Kind}` },
      Subject: {
        header: 'SUBJECT',
        value: ({ Subject }) =>
          truncate && /^[0-9a-f]{64}$/.test(Subject) ? shortId(Subject) : cut(Subject, 40),
      },
      State: { header: 'STATE', value: ({ State }) => State },
      Started: { header: 'STARTED', value: ({ StartedAt }) => ago(Date.parse(StartedAt) / 1000, Date.now()) },
      StartedAt: { header: 'STARTED AT', value: ({ StartedAt }) => StartedAt },
      Duration: { header: 'DURATION', value: ({ DurationMs }) => duration(DurationMs) },
      Parent: { header: 'PARENT', value: ({ ParentId }) => (truncate ? shortId(ParentId) : ParentId) },
      Progress: { header: 'PROGRESS', value: (job) => cut(progressOf(job), 60) },
      Error: { header: 'ERROR', value: ({ Error: failure }) => failure },
    },
    typeName: 'Job',
    table: '{{.ID}}\t{{.Kind}}\t{{.Subject}}\t{{.State}}\t{{.Started}}\t{{.Duration}}\t{{.Progress}}',
  };
}

function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)}ms` : `${(ms / 1000).toFixed(1)}s`;
}

/** Children right below their parents; a Job whose parent is not listed is a root. */
function asTree(jobs: readonly Job[]): JobRow[] {
  const known = new Set(jobs.map(({ Id }) => Id));
  const children = Map.groupBy(jobs, ({ ParentId }) => (known.has(ParentId) ? ParentId : ''));
  const below = (parent: string, depth: number): JobRow[] =>
    (children.get(parent) ?? []).flatMap((job) => [{ ...job, depth }, ...below(job.Id, depth + 1)]);
  return below('', 0);
}

/** `jobs`. */
export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: "List the daemon's Jobs: every piece of work it does or has done",
  args: { min: 0 },
  flags: {
    all: toggle('Show finished Jobs too (default shows just running)', { short: 'a' }),
    cancel: string('Cancel the Job with this ID'),
    format: string(formatHelp),
    noTrunc: toggle("Don't truncate output"),
    quiet: toggle('Only display Job IDs', { short: 'q' }),
    tree: toggle('Show Jobs below the Jobs that asked for them'),
  },
  async run({ cli, flags }) {
    if (flags.cancel) {
      await cli.client.text('DELETE', `/jobs/${flags.cancel}`);
      cli.print(flags.cancel);
      return;
    }
    const jobs = await cli.client.json<Job[]>('GET', '/jobs', { query: { all: flags.all } });
    const rows = flags.tree ? asTree(jobs) : jobs.map((job) => ({ ...job, depth: 0 }));
    printListing(cli, listing(!flags.noTrunc), rows, {
      format: flags.format,
      quiet: flags.quiet,
      idOf: ({ Id }) => (flags.noTrunc ? Id : shortId(Id)),
    });
  },
});
