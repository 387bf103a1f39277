/**
 * Shares of the processor's caches and memory bandwidth (`linux.intelRdt`), as files of resctrl. The directory is a
 * parameter because few machines have the hardware.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#intelrdt
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { RuntimeError } from './errors.ts';
import { parseMountInfo } from './mounts.ts';
import { invalid } from './plan/validate.ts';
import type { LinuxSpec } from './spec/linux.ts';

type IntelRdt = NonNullable<LinuxSpec['intelRdt']>;

/** The groups of one container. */
export interface RdtGroups {
  /** Where its processes are written to. */
  tasks: string[];
  /** Directories that are the container's own, in the order of their making. */
  made: string[];
}

/** Where resctrl is mounted; undefined without. */
export function resctrlRoot(): string | undefined {
  return parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')).find(({ type }) => type === 'resctrl')
    ?.target;
}

function fail(field: string, message: string, cause?: unknown): RuntimeError {
  return new RuntimeError('SETUP_FAILED', `linux.intelRdt.${field}: ${message}`, {
    field: `linux.intelRdt.${field}`,
    step: 'INTEL_RDT',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The lines of `schemata`: all that was asked for, the bandwidth of memory as `MB:…`. */
function schemataOf({ l3CacheSchema, memBwSchema, schemata = [] }: IntelRdt): string[] {
  const lines = l3CacheSchema?.split('\n') ?? [];
  // the bandwidth has a field of its own, which wins
  const l3 = memBwSchema === undefined ? lines : lines.filter((line) => !line.startsWith('MB:'));
  return [...l3, ...(memBwSchema === undefined ? [] : [memBwSchema]), ...schemata].filter(Boolean);
}

/**
 * Which groups the container will have, without making them.
 *
 * @throws {RuntimeError} `INVALID_SPEC` for a group that is there and should not, or the other way round
 */
export function planRdtGroups(root: string, id: string, rdt: IntelRdt): RdtGroups {
  const { closID } = rdt;
  if (closID !== undefined && closID !== '/' && !/^(?!\.{1,2}$)[^/\n]+$/.test(closID)) {
    throw invalid('linux.intelRdt.closID', `${JSON.stringify(closID)} is no name of a group`);
  }
  const group = closID === '/' ? root : join(root, closID ?? id);
  const groups: RdtGroups = { tasks: [join(group, 'tasks')], made: [] };
  if (!existsSync(group)) {
    if (closID !== undefined && schemataOf(rdt).length === 0) {
      throw invalid('linux.intelRdt.closID', `there is no ${group}, and nothing says what it should be`);
    }
    groups.made.push(group);
  } else if (closID === undefined) {
    throw invalid('linux.intelRdt.closID', `${group} exists already: name it to share it`);
  }
  if (rdt.enableMonitoring) {
    const monitored = join(group, 'mon_groups', id);
    groups.made.push(monitored);
    groups.tasks.push(join(monitored, 'tasks'));
  }
  return groups;
}

/** Makes what is planned. @throws {RuntimeError} `SETUP_FAILED` with `field`; the caller removes what is made */
export function makeRdtGroups(root: string, { tasks, made }: RdtGroups, rdt: IntelRdt): void {
  const group = dirname(tasks[0]!);
  if (made[0] === group) mkdirSync(group);
  for (const line of schemataOf(rdt)) {
    try {
      writeFileSync(join(group, 'schemata'), `${line}\n`);
    } catch (cause) {
      const status = join(root, 'info/last_cmd_status');
      const said = existsSync(status) ? readFileSync(status, 'utf8').trim() : String(cause);
      throw fail('schemata', `${JSON.stringify(line)} is refused: ${said}`, cause);
    }
  }
  for (const directory of made) if (directory !== group) mkdirSync(directory);
}

/** Puts a process, with what it will start, into its groups. One that has ended meanwhile needs none. */
export function joinRdtGroups({ tasks }: RdtGroups, pid: number): void {
  try {
    for (const file of tasks) writeFileSync(file, String(pid));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Removes what was made. Twice is fine. */
export function removeRdtGroups({ made }: RdtGroups): void {
  for (const directory of made.toReversed()) {
    try {
      rmdirSync(directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}
