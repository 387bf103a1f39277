/** Programs of the tests that run as an ordinary user, with what such a user has: directories, sometimes a cgroup. */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { run } from '../../../../test/lab/process.ts';
import type { Finished } from '../../../../test/lab/process.ts';
import { detectCgroups } from '../../src/cgroups/layout.ts';

/** Nobody has an entry for this one anywhere. */
export const UID = 41_234;

/** Gives everything below a directory to the user, and lets it in from above. */
export function giveAway(directory: string, above: string): void {
  chmodSync(above, 0o711);
  const walk = (path: string): void => {
    chownSync(path, UID, UID);
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory()) walk(join(path, entry.name));
      else if (entry.isFile()) chownSync(join(path, entry.name), UID, UID);
    }
  };
  walk(directory);
}

/** A version 2 cgroup as systemd delegates it: the user's, with a leaf for its programs. */
export interface Delegation {
  /** Below the root of the hierarchy. */
  path: string;
  /** Where the user's program is put. */
  procs: string;
  remove(): void;
}

export function delegate(path: string): Delegation {
  const { kind, hierarchies } = detectCgroups();
  const { mountPoint } = hierarchies.find(({ version }) => version === 2)!;
  const folder = mountPoint + path;
  const leaf = join(folder, 'caller');
  if (kind === 'v2') {
    // version 1 beside it has them all
    for (const controller of readFileSync(join(mountPoint, 'cgroup.controllers'), 'utf8').trim().split(' ')) {
      writeFileSync(join(mountPoint, 'cgroup.subtree_control'), `+${controller}`);
    }
  }
  mkdirSync(leaf, { recursive: true });
  for (const one of [folder, leaf]) {
    for (const file of ['.', 'cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control']) {
      chownSync(join(one, file), UID, UID);
    }
  }
  return {
    path,
    procs: join(leaf, 'cgroup.procs'),
    remove() {
      const walk = (at: string): void => {
        for (const entry of readdirSync(at, { withFileTypes: true })) {
          if (entry.isDirectory()) walk(join(at, entry.name));
        }
        rmdirSync(at);
      };
      walk(folder);
    },
  };
}

/** Runs a TypeScript program of the tests as {@link UID}, with nothing else of root's. */
export function runAsUser(
  program: string,
  args: string[],
  options: {
    cgroup?: Delegation;
    env?: NodeJS.ProcessEnv;
    /** Files that it sees in place of others. */
    files?: Record<string, string>;
    timeoutMs?: number;
  } = {},
): Promise<Finished> {
  const { cgroup, env = {}, files = {}, timeoutMs = 60_000 } = options;
  const node = [process.execPath, ...process.execArgv, join(import.meta.dirname, program), ...args];
  // to where it is already: every machine has it
  const user = ['chroot', `--userspec=${UID}:${UID}`, '--groups=', '--skip-chdir', '/', ...node];
  const enter = 'if [ -n "$1" ]; then echo $$ > "$1" || exit 125; fi; shift; eval "$1"; shift; exec "$@"';
  const binds = Object.entries(files).map(([path, file]) => `mount --bind '${file}' '${path}' || exit 125`);
  return run(
    'unshare',
    ['--mount', 'sh', '-c', enter, 'sh', cgroup?.procs ?? '', binds.join('\n'), ...user],
    {
      env: { PATH: process.env['PATH'], ...env },
      timeoutMs,
    },
  );
}
