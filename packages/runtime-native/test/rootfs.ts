/** What the tests of containers share: a root file system of busybox, runtimes, and a look at what they leave. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';

import { COMPONENTS, componentPath } from '../../../test/lab/debian.ts';
import { sweepCgroups } from '../src/cgroups/cgroups.ts';
import { detectCgroups } from '../src/cgroups/layout.ts';
import { createNativeRuntime } from '../src/native-runtime.ts';
import type { Runtime } from '../src/runtime.ts';
import { startTicks } from '../src/state.ts';
import { describeAsRoot } from './root.ts';

const busybox = componentPath(COMPONENTS.busybox);

/** As {@link describeAsRoot}, and skipped with the reason printed when busybox is not there either. */
export function describeContainers(name: string, body: () => void): void {
  if (busybox) return describeAsRoot(name, body);
  console.warn(`skipped: ${name} (needs busybox: tools/test.mjs fetches it)`);
  describe.skip(`${name} (needs busybox)`, body);
}

const APPLETS =
  'awk cat chmod cp cut dd echo env false grep head hostname id ip kill ln ls mkdir mknod mount mv nc ps pwd readlink ' +
  'rm seq sh sleep sort stat stty sync tail test touch tr true tty umount uniq wc yes';

/** A temporary directory with everything of one test file below it. */
export interface Lab {
  directory: string;
  /** Directory with busybox. */
  rootfs: string;
  stateDirectory: string;
  cgroupRoot: string;
  runtime: Runtime;
  dispose(): void;
}

export function makeLab(): Lab {
  const directory = mkdtempSync(join(tmpdir(), 'tare-rt-'));
  const rootfs = join(directory, 'rootfs');
  for (const name of ['bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev']) {
    mkdirSync(join(rootfs, name), { recursive: true });
  }
  copyFileSync(busybox!, join(rootfs, 'bin/busybox'));
  for (const name of APPLETS.split(' ')) symlinkSync('busybox', join(rootfs, 'bin', name));
  const stateDirectory = join(directory, 'state');
  const cgroupRoot = `/tare-test-${process.pid}-${directory.slice(-6)}`;
  return {
    directory,
    rootfs,
    stateDirectory,
    cgroupRoot,
    runtime: createNativeRuntime({ stateDirectory, cgroupRoot }),
    dispose() {
      sweepCgroups(cgroupRoot);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Where a cgroup's folders are, one a hierarchy. */
export function cgroupFolders(path: string): string[] {
  return detectCgroups().hierarchies.map(({ mountPoint }) => mountPoint + path);
}

/** Everything on the machine that belongs to the lab's containers: mounts, cgroups, processes, directories. */
export function leftovers(lab: Lab): string[] {
  const found: string[] = [];
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  found.push(...mounts.filter((line) => line.includes(lab.directory)));
  for (const folder of cgroupFolders(lab.cgroupRoot)) {
    if (!existsSync(folder)) continue;
    const entries = readdirSync(folder, { withFileTypes: true });
    found.push(...entries.filter((entry) => entry.isDirectory()).map((entry) => `${folder}/${entry.name}`));
  }
  if (existsSync(lab.stateDirectory)) {
    found.push(...readdirSync(lab.stateDirectory).map((name) => join(lab.stateDirectory, name)));
  }
  return found;
}

/** The machine's mounts, but for those in temporary directories: other tests may be making some there right now. */
export function machineMounts(): string[] {
  const temporary = [tmpdir(), '/tmp', '/dev/shm'];
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => !temporary.some((directory) => line.split(' ')[4]?.startsWith(`${directory}/`)));
}

/** Children of this process, zombies included. */
export function children(): string[] {
  const lists = readdirSync('/proc/self/task').map((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'utf8'),
  );
  return lists.join(' ').split(' ').filter(Boolean);
}

/** Processes in a cgroup of the lab's, or with a mount of it: containers, whoever their parent is. */
export function processesOf(lab: Lab): string[] {
  return readdirSync('/proc').filter((pid) => {
    // a zombie waits for its parent, which for an orphan is none of ours
    if (!/^\d+$/.test(pid) || startTicks(Number(pid)) === undefined) return false;
    try {
      const cgroups = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
      return (
        cgroups.includes(lab.cgroupRoot) ||
        readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(lab.directory)
      );
    } catch (error) {
      // it ended while we looked; EINVAL is how a process without namespaces says so
      if (['ENOENT', 'ESRCH', 'EINVAL'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
      throw error;
    }
  });
}
