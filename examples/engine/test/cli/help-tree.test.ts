/** Every command and flag of the stock docker CLI is one of ours, read from the help of both. */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { tare } from './drive.ts';

const program = componentPath(COMPONENTS.docker);
const reason = whyNot();
/** Of a swarm: an engine of one machine has none. */
const swarm = /^(?:config|node|secret|service|stack|swarm)$|^volume update$/;
/** Of swarms as well: volumes of a cluster. */
const clusterFlags =
  /^--(?:availability|cluster|group|limit-bytes|required-bytes|scope|secret|sharing|topology-.*|type)$/;

interface Page {
  commands: string[];
  /** `-a,--all`, `--format`. */
  flags: string[];
}

function parse(help: string): Page {
  const page: Page = { commands: [], flags: [] };
  let inCommands = false;
  for (const line of help.split('\n')) {
    if (/^\S/.test(line)) inCommands = line.endsWith('Commands:');
    const command = inCommands ? /^ {2}([a-z][\w-]*) {2,}/.exec(line)?.[1] : undefined;
    if (command) page.commands.push(command);
    const flag = /^ {2,6}(?:(-\w), )?(--[\w-]+)/.exec(line);
    if (flag) page.flags.push(flag[1] ? `${flag[1]},${flag[2]}` : flag[2]!);
  }
  return page;
}

type Help = (path: string[]) => Promise<string>;

/** Pages of the whole help by command, `image ls`. */
async function walk(help: Help, path: string[] = []): Promise<Map<string, Page>> {
  const page = parse(await help(path));
  const below = page.commands
    .map((command) => [...path, command])
    .filter((words) => !swarm.test(words.join(' ')))
    .map((words) => walk(help, words));
  const pages = (await Promise.all(below)).flatMap((found) => [...found]);
  return new Map([[path.join(' '), page], ...pages]);
}

describe.skipIf(reason)(`the help of docker and of tare${reason ? ` (skipped: ${reason})` : ''}`, () => {
  it('has the same commands and flags, ours some more', { timeout: 60_000 }, async () => {
    const env = { HOME: '/nonexistent', DOCKER_HOST: 'unix:///nonexistent' };
    const theirs = await walk(async (path) => {
      const { stdout, stderr } = await promisify(execFile)(program!, [...path, '--help'], { env });
      return stdout + stderr;
    });
    const missing: string[] = [];
    for (const [path, { flags }] of theirs) {
      const { code, stdout } = await tare(undefined, [...path.split(' ').filter(Boolean), '--help']);
      if (code !== 0) missing.push(path);
      else {
        const page = parse(stdout);
        const lacking = flags.filter(
          (flag) => !page.flags.includes(flag) && !(path.startsWith('volume ') && clusterFlags.test(flag)),
        );
        missing.push(...lacking.map((flag) => `${path} ${flag}`));
      }
    }
    expect(theirs.size).toBeGreaterThan(120);
    expect(missing).toEqual([]);
  });
});

/** Older command lines have flags that newer ones, and ours, have not. */
function whyNot(): string | undefined {
  if (program === undefined) return 'needs the docker CLI';
  const version = execFileSync(program, ['--version'], { encoding: 'utf8' });
  return Number(/version (\d+)\./.exec(version)?.[1]) >= 28
    ? undefined
    : `needs docker 28, this is ${version.trim()}`;
}
