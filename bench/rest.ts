/** What one contestant leaves behind is not to slow down whoever comes next. */
import { execFileSync } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';

/** The kernel takes down namespaces, mounts and cgroups after their processes have ended, on the same processors. */
const REST_MS = 60;

/** Waits until the machine has nothing to do: what was written is on the disk, what has ended is gone. */
export async function rest(): Promise<void> {
  execFileSync('sync');
  await setTimeout(REST_MS);
}
