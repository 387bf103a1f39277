/** What may come next on a command line that is being typed. */
import type { Cli } from './cli.ts';
import { commandTable, type Entry } from './command-table.ts';
import { flagName, type Flag, type FlagSet } from './flags.ts';

/** One way to go on. */
export interface Candidate {
  text: string;
  description: string;
}

/** Ways to go on, and whether names of files are among them. */
export interface Completion {
  candidates: Candidate[];
  files: boolean;
}

type Names = (cli: Cli) => Promise<Candidate[]>;

const globalFlags = [
  '--config',
  '--context',
  '--debug',
  '--host',
  '--log-level',
  '--tls',
  '--tlscacert',
  '--tlscert',
  '--tlskey',
  '--tlsverify',
];
const globalFlagsWithValue =
  /^(?:-H|--host|-c|--context|--config|-l|--log-level|--tlscacert|--tlscert|--tlskey)$/;

/**
 * Completes the last of `words`, which follow the program's name. Names of the daemon's objects are asked for when it
 * answers; when it does not, there are none.
 */
export async function complete(cli: Cli, words: readonly string[]): Promise<Completion> {
  const typed = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  let table: Readonly<Record<string, Entry>> = commandTable;
  let entry: Entry | undefined;
  while (before.length > 0) {
    const word = before[0]!;
    if (entry && !('commands' in entry)) break;
    before.shift();
    if (word.startsWith('-')) {
      if (globalFlagsWithValue.test(word)) before.shift();
      continue;
    }
    entry = Object.hasOwn(table, word) ? table[word] : undefined;
    if (!entry) return nothing;
    if ('commands' in entry) table = entry.commands;
  }
  const found =
    entry && !('commands' in entry)
      ? await completeCommand(cli, entry, before, typed)
      : only(typed.startsWith('-') && !entry ? plain(globalFlags) : commandsOf(table));
  return { ...found, candidates: found.candidates.filter(({ text }) => text.startsWith(typed)) };
}

const nothing: Completion = { candidates: [], files: false };
const only = (candidates: Candidate[]): Completion => ({ candidates, files: false });
const plain = (texts: readonly string[]): Candidate[] => texts.map((text) => ({ text, description: '' }));

function commandsOf(table: Readonly<Record<string, Entry>>): Candidate[] {
  return Object.entries(table)
    .filter(([, entry]) => !('hidden' in entry))
    .map(([text, { summary }]) => ({ text, description: summary }));
}

async function completeCommand(
  cli: Cli,
  entry: Extract<Entry, { load: unknown }>,
  before: readonly string[],
  typed: string,
): Promise<Completion> {
  const command = await entry.load();
  const previous = before.at(-1);
  const open = previous?.startsWith('-') ? flagNamed(command.flags, previous) : undefined;
  if (open?.flag.placeholder && !previous!.includes('=')) return flagValues(cli, open.key);
  if (typed.startsWith('-')) {
    return only(
      Object.entries(command.flags).map(([key, { help }]) => ({
        text: `--${flagName(key)}`,
        description: help,
      })),
    );
  }
  const position = countArguments(before, command.flags);
  const word = argumentAt(command.usage, position);
  const names = word === undefined ? undefined : namesFor(word, entry.summary);
  return {
    candidates: names ? await names(cli).catch(() => []) : [],
    files: /PATH|FILE|file|-$/.test(word ?? ''),
  };
}

function flagNamed(flags: FlagSet, word: string): { key: string; flag: Flag<unknown> } | undefined {
  const found = Object.entries(flags).find(([key, { short, alias }]) =>
    word.startsWith('--')
      ? word === `--${flagName(key)}` || word === `--${alias}`
      : short && word === `-${short}`,
  );
  return found && { key: found[0], flag: found[1] };
}

/** Arguments among `words` that are neither flags nor values of flags. */
function countArguments(words: readonly string[], flags: FlagSet): number {
  let count = 0;
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (!word.startsWith('-')) count++;
    else if (!word.includes('=') && flagNamed(flags, word)?.flag.placeholder) at++;
  }
  return count;
}

/** What the usage says about an argument: `CONTAINER`, `IMAGE`, `CONTAINER:SRC_PATH`, … */
function argumentAt(usage: string, position: number): string | undefined {
  const words = usage
    .split('\n', 1)[0]!
    .split(' ')
    .filter((word) => word !== '' && word !== '[OPTIONS]' && word !== 'OPTIONS');
  return words[position] ?? (words.at(-1)?.includes('...') ? words.at(-1) : undefined);
}

/** The objects that an argument may name. */
function namesFor(word: string, summary: string): Names | undefined {
  const kind = /CONTAINER|IMAGE|NETWORK|VOLUME|CONTEXT|PLUGIN|NAME\|ID/.exec(word)?.[0];
  if (kind === 'CONTAINER') return containers(stateFor(summary));
  if (kind === 'IMAGE') return images;
  if (kind === 'NETWORK') return networks;
  if (kind === 'VOLUME') return volumes;
  if (kind === 'CONTEXT')
    return async (cli) => plain([...cli.contexts.list().map(({ Name }) => Name), 'default']);
  if (kind === 'NAME|ID') {
    return async (cli) =>
      (await Promise.all([containers()(cli), images(cli), networks(cli), volumes(cli)])).flat();
  }
  return undefined;
}

/** Commands for running containers say so in their summary. */
function stateFor(summary: string): string | undefined {
  if (/running container|Pause all|processes of a container/.test(summary)) return 'running';
  if (/Unpause/.test(summary)) return 'paused';
  return /stopped container/.test(summary) ? 'exited' : undefined;
}

function containers(status?: string): Names {
  return async (cli) => {
    const query = { all: true, filters: status && JSON.stringify({ status: { [status]: true } }) };
    const rows = await cli.client.json<{ Names: string[]; Image: string }[]>('GET', '/containers/json', {
      query,
    });
    return rows.map(({ Names, Image }) => ({ text: Names[0]!.replace(/^\//, ''), description: Image }));
  };
}

const images: Names = async (cli) => {
  const rows = await cli.client.json<{ RepoTags: string[] | null }[]>('GET', '/images/json');
  return plain(rows.flatMap(({ RepoTags }) => RepoTags ?? []).map((name) => name.replace(/:latest$/, '')));
};

const networks: Names = async (cli) => {
  const rows = await cli.client.json<{ Name: string; Driver: string }[]>('GET', '/networks');
  return rows.map(({ Name, Driver }) => ({ text: Name, description: Driver }));
};

const volumes: Names = async (cli) => {
  const { Volumes } = await cli.client.json<{ Volumes: { Name: string }[] | null }>('GET', '/volumes');
  return plain((Volumes ?? []).map(({ Name }) => Name));
};

/** Values of flags that name something, or are one of a few words. */
async function flagValues(cli: Cli, key: string): Promise<Completion> {
  const words: Record<string, readonly string[]> = {
    restart: ['no', 'always', 'on-failure', 'unless-stopped'],
    pull: ['always', 'missing', 'never'],
    progress: ['auto', 'plain', 'tty', 'json', 'quiet'],
    logDriver: ['json-file', 'local', 'none'],
    cgroupns: ['host', 'private'],
    format: ['json', 'table'],
    type: ['container', 'image', 'network', 'volume'],
    platform: ['linux/amd64', 'linux/arm64'],
  };
  if (words[key]) return only(plain(words[key]));
  const names: Record<string, Names> = { network: networks, volume: volumes, volumesFrom: containers() };
  if (names[key]) return { candidates: await names[key](cli).catch(() => []), files: key === 'volume' };
  return { candidates: [], files: /file|path|output|input|dir/i.test(key) };
}
