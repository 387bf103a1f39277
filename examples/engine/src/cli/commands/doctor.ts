/** `tare doctor`: what this machine offers for containers, what it lacks, what that means, and how to get it. */
import type { Check } from '../../doctor/checks.ts';
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { ExitError, messageOf } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { printListing, type Listing } from '../output.ts';
import { wrap } from '../format/wrap.ts';
import { paint } from '../paint.ts';

const listing: Listing<Check> = {
  columns: {
    Check: { header: 'CHECK', value: ({ id }) => id },
    Verdict: { header: 'VERDICT', value: ({ verdict }) => verdict },
    Found: { header: 'FOUND', value: ({ found }) => found },
    Means: { header: 'MEANS', value: ({ means }) => means },
    Remedy: { header: 'REMEDY', value: ({ remedy }) => remedy },
  },
  typeName: 'Check',
  table: '{{.Check}}\t{{.Verdict}}\t{{.Found}}\t{{.Means}}\t{{.Remedy}}',
};

const marks = { good: '✓', lacks: '!', fails: '✗' } as const;
const colors = { good: 'green', lacks: 'yellow', fails: 'red' } as const;

/** `doctor`. */
export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Tell what this machine offers for containers, what it lacks, and how to get it',
  args: { min: 0 },
  flags: {
    dataRoot: string('Directory that is to have the images', { initial: '/var/lib/tare' }),
    format: string(formatHelp),
    group: string('Group of the socket', { initial: 'docker' }),
    machine: toggle('Look at the machine alone, not for a daemon'),
    quiet: toggle('Only tell of what is not good', { short: 'q' }),
  },
  async run({ cli, flags }) {
    const { examine } = await import('../../doctor/doctor.ts');
    const machine = await examine(flags);
    const checks = flags.machine ? machine : [...machine, await daemonCheck(cli)];
    const shown = flags.quiet ? checks.filter(({ verdict }) => verdict !== 'good') : checks;
    if (flags.format !== '') printListing(cli, listing, shown, { format: flags.format });
    else cli.stdout.write(report(cli, shown));
    const failures = checks.filter(({ verdict }) => verdict === 'fails').length;
    if (flags.format === '' && !flags.quiet) cli.print(conclusion(failures, checks));
    if (failures > 0) throw new ExitError(1);
  },
});

/** The check that is not of the machine. */
const DAEMON = 'daemon';

async function daemonCheck(cli: Cli): Promise<Check> {
  const id = DAEMON;
  try {
    const { Version } = await cli.client.json<{ Version: string }>('GET', '/version');
    return {
      id,
      verdict: 'good',
      found: `${Version} answers at ${cli.client.endpoint.url}`,
      means: '',
      remedy: '',
    };
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') {
      return {
        id,
        verdict: 'lacks',
        found: `the socket at ${cli.client.endpoint.url} refuses this user`,
        means: 'whether the daemon runs cannot be told',
        remedy: "with sudo: 'sudo tare doctor'; for always, join the group of the socket",
      };
    }
    return {
      id,
      verdict: 'lacks',
      found: messageOf(error).split('. ', 1)[0]!.replace(/\.$/, ''),
      means: 'there is nothing to run containers with yet',
      remedy: "'systemctl start tare', or as root: 'tare daemon'",
    };
  }
}

/** A line on each; below what is not good, what it means and what to do. */
function report(cli: Cli, checks: readonly Check[]): string {
  const width = Math.max(0, ...checks.map(({ id }) => id.length));
  const indent = ' '.repeat(width + 4);
  const columns = Math.max(20, Math.min(cli.columns, 100) - indent.length);
  return checks
    .map(({ id, verdict, found, means, remedy }) => {
      const mark = paint(cli, cli.stdout, colors[verdict], marks[verdict]);
      const lines = [found, means, remedy && `→ ${remedy}`].flatMap((line) =>
        line ? wrap(line, columns) : [],
      );
      return `${mark} ${id.padEnd(width)}  ${lines.join(`\n${indent}`)}\n`;
    })
    .join('');
}

function conclusion(failures: number, checks: readonly Check[]): string {
  if (failures > 0) return `\nContainers cannot run here: set right what is marked ${marks.fails}.`;
  const lacking = checks.filter(({ verdict }) => verdict === 'lacks');
  if (lacking.length === 0) return '\nEverything is there.';
  const waits = lacking.some(({ id }) => id === DAEMON);
  const others = waits ? lacking.length > 1 && 'what else is' : 'what is';
  const rest = others ? `; ${others} marked ${marks.lacks} they do without` : '';
  return `\nContainers can run here${waits ? ' once the daemon answers' : ''}${rest}.`;
}
