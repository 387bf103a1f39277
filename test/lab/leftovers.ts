/**
 * What a test run left on the machine: mounts, links, cgroups, processes, temporary files. Compared before and after
 * the whole suite; anything new fails it.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** Everything found, one readable line each. */
export type Inventory = Set<string>;

/** Looks at the machine as this process sees it. */
export function takeInventory(): Inventory {
  return new Set([...mounts(), ...links(), ...cgroups(), ...processes(), ...temporaryFiles()]);
}

/** What is in `after` and was not in `before`. */
export function leftovers(before: Inventory, after: Inventory): string[] {
  return [...after].filter((line) => !before.has(line)).sort();
}

function mounts(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `mount ${line.split(' ')[4]}`);
}

/** Through /proc, which follows this process's network namespace; /sys shows the one it was mounted in. */
function links(): string[] {
  return readFileSync('/proc/self/net/dev', 'utf8')
    .split('\n')
    .slice(2)
    .map((line) => line.split(':')[0]!.trim())
    .filter((name) => name !== '')
    .map((name) => `link ${name}`);
}

/** Control groups of ours: every folder below one whose name starts with `tare`, in each hierarchy. */
function cgroups(): string[] {
  const below = (folder: string): string[] =>
    folders(folder).flatMap((name) => [join(folder, name), ...below(join(folder, name))]);
  return ['/sys/fs/cgroup', ...folders('/sys/fs/cgroup').map((name) => join('/sys/fs/cgroup', name))].flatMap(
    (hierarchy) =>
      folders(hierarchy)
        .filter((name) => name.startsWith('tare'))
        .flatMap((name) => [join(hierarchy, name), ...below(join(hierarchy, name))])
        .map((path) => `cgroup ${path}`),
  );
}

/**
 * Processes in this network namespace that are neither this one, nor above it, nor its own workers. The suite has a
 * namespace to itself, so whoever is in it was started by it.
 */
function processes(): string[] {
  if (!ownNetwork()) return [];
  const here = readlinkSync('/proc/self/ns/net');
  const ours = ancestors(process.pid);
  return folders('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const found = describe(pid);
      if (found === undefined || found.namespace !== here || ours.has(pid)) return [];
      if (found.parent === String(process.pid) && /vitest|esbuild/.test(found.command)) return [];
      return [`process ${pid} ${found.command}`];
    });
}

function describe(pid: string): { namespace: string; parent: string; command: string } | undefined {
  try {
    return {
      namespace: readlinkSync(`/proc/${pid}/ns/net`),
      parent: parentOf(pid),
      command:
        readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() ||
        'zombie or kernel thread',
    };
  } catch (error) {
    // it ended while we looked, or belongs to the kernel
    if (['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

function parentOf(pid: string): string {
  return /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!;
}

function ancestors(pid: number): Set<string> {
  const found = new Set<string>();
  for (let next = String(pid); next !== '0'; next = parentOf(next)) found.add(next);
  return found;
}

/**
 * Whether this process is root in a network namespace other than the one it was started from: some process above it is
 * in another one. (The first process of the machine, the obvious one to compare with, may not be readable.)
 */
export function ownNetwork(): boolean {
  if (process.getuid?.() !== 0) return false;
  const here = readlinkSync('/proc/self/ns/net');
  return [...ancestors(process.pid)].some((pid) => {
    const namespace = describe(pid)?.namespace;
    return namespace !== undefined && namespace !== here;
  });
}

/** Only when the runner gave the suite a folder of its own; otherwise other programs' files would count. */
function temporaryFiles(): string[] {
  const folder = process.env.TARE_TEST_TMPDIR;
  return folder === undefined
    ? []
    : readdirSync(folder).map((name) => `temporary file ${join(folder, name)}`);
}

function folders(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}
