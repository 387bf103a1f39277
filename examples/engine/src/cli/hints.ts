/** What to do next about an error: one more line below it, for people at a terminal. Scripts get the error alone. */
import type { Cli } from './cli.ts';
import { messageOf } from './errors.ts';
import { suggestion } from '../suggest.ts';

/** A step for errors that say the same in other words; `found` are the groups of the pattern. */
interface Step {
  pattern: RegExp;
  advice(cli: Cli, found: RegExpExecArray): Promise<string | undefined> | string;
}

const steps: readonly Step[] = [
  { pattern: /No such container: (\S+)/, advice: (cli, [, name]) => closeContainer(cli, name!) },
  { pattern: /No such image: (\S+)/i, advice: (cli, [, name]) => closeImage(cli, name!) },
  {
    pattern: /(?:pull access denied for|repository) (\S+?)(?:,| not found|: not found)/,
    advice: async (cli, [, name]) =>
      (await closeImage(cli, name!)) ??
      "check the name ('tare search' finds some); for a private repository, 'tare login' first",
  },
  { pattern: /[Nn]etwork (\S+) not found/, advice: (cli, [, name]) => closeNetwork(cli, name!) },
  {
    pattern: /The container name "\/?(\S+?)" is already in use/,
    advice: (_cli, [, name]) =>
      `'tare rm -f ${name}' removes the other one, 'tare start ${name}' starts it again`,
  },
  {
    pattern: /:(\d+)\S* failed: port is already allocated|port (\d+) is already allocated/,
    advice: (_cli, [, one, other]) =>
      `'tare ps --filter publish=${one ?? other}' tells which container has it`,
  },
  {
    pattern: /no space left on device|database or disk is full/i,
    advice: () =>
      "'tare system df' tells what takes the space, 'tare system prune' gives back what nothing uses",
  },
  {
    pattern: /server gave HTTP response to HTTPS client|plain http/i,
    advice: () => 'a registry without TLS has to be named in "insecure-registries" of /etc/tare/daemon.json',
  },
  {
    pattern: /ENOTFOUND|EAI_AGAIN|ETIMEDOUT|no such host|i\/o timeout|Client\.Timeout|cannot be reached/,
    advice: () =>
      'is the registry reachable from here? A mirror goes into "registry-mirrors" of /etc/tare/daemon.json',
  },
  {
    pattern: /executable file not found in \$PATH|stat \S+: no such file or directory/,
    advice: () => 'the program is looked for inside the image; what comes after its name is the command',
  },
  {
    pattern: /is using its referenced image|image is being used/,
    advice: () => "'tare ps -a --filter ancestor=IMAGE' tells who uses it; --force removes the name alone",
  },
];

/** The step for an error, or undefined. Asks the daemon for names when it was one that was wrong. */
export async function hintFor(cli: Cli, error: unknown): Promise<string | undefined> {
  if (!cli.stderr.isTTY || cli.environment['DOCKER_CLI_HINTS'] === 'false') return undefined;
  const message = messageOf(error);
  for (const { pattern, advice } of steps) {
    const found = pattern.exec(message);
    if (!found) continue;
    // a hint that cannot be had is none
    return (await Promise.resolve(advice(cli, found)).catch(() => undefined)) ?? undefined;
  }
  return undefined;
}

function meant(name: string, known: readonly string[]): string | undefined {
  const close = suggestion(name, known);
  return close && `did you mean '${close}'?`;
}

async function closeContainer(cli: Cli, name: string): Promise<string | undefined> {
  const rows = await cli.client.json<{ Names: string[] }[]>('GET', '/containers/json', {
    query: { all: true },
  });
  return meant(
    name,
    rows.flatMap(({ Names }) => Names).map((known) => known.replace(/^\//, '')),
  );
}

async function closeImage(cli: Cli, name: string): Promise<string | undefined> {
  const rows = await cli.client.json<{ RepoTags: string[] | null }[]>('GET', '/images/json');
  const known = rows.flatMap(({ RepoTags }) => RepoTags ?? []);
  const bare = known.map((tag) => tag.replace(/:latest$/, ''));
  const repositories = [...new Set(known.map(withoutTag))];
  return meant(name.replace(/:latest$/, ''), [...bare, ...known]) ?? meant(withoutTag(name), repositories);
}

function withoutTag(name: string): string {
  return name.replace(/:[^:/]*$/, '');
}

async function closeNetwork(cli: Cli, name: string): Promise<string | undefined> {
  const rows = await cli.client.json<{ Name: string }[]>('GET', '/networks');
  return meant(
    name,
    rows.map(({ Name }) => Name),
  );
}
