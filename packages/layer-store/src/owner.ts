/**
 * Names the process that owns a temporary file, so that whoever opens the store next can tell a leftover of a dead
 * process from the work of a living one.
 */
import { readFileSync } from 'node:fs';
import { systemCode } from './errors.ts';

/** `<pid>-<start time>` of this process: safe inside a file name, and unique even when the pid is used again. */
export const thisOwner = `${process.pid}-${startTime(process.pid) ?? 0}`;

/**
 * Whether the process that `owner` names is still running.
 *
 * Text that is no owner counts as dead. Processes of another pid namespace cannot be seen: a store must not be shared
 * between pid namespaces.
 */
export function isOwnerAlive(owner: string): boolean {
  const match = /^(\d+)-(\d+)$/.exec(owner);
  if (match === null) return false;
  if (owner === thisOwner) return true;
  const pid = Number(match[1]);
  const start = startTime(pid);
  if (start !== undefined) return start === match[2];
  if (process.platform === 'linux' || pid === 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

/** Start time in clock ticks since boot (field 22 of proc_pid_stat(5)); undefined when there is no such process. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // the command name, field 2, is the only one that can hold spaces and parentheses
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
