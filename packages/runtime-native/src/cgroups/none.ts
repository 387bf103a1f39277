/**
 * In place of a cgroup, for a user to whom none is delegated: the container's processes are those of its pid namespace,
 * and what only a cgroup can do is refused.
 */
import { readdirSync, readlinkSync } from 'node:fs';

import { RuntimeError } from '../errors.ts';
import type { ContainerStats } from '../runtime.ts';
import type { LinuxResources } from '../spec/index.ts';
import type { Cgroup, CgroupPlacement } from './cgroup.ts';
import { NEEDS } from './controllers.ts';
import { signalAll } from './signal.ts';

const SIGKILL = 9;

function refusal(field: string): RuntimeError {
  const message = 'needs a cgroup, and none is delegated to this user (systemd: Delegate=yes)';
  return new RuntimeError('UNSUPPORTED', `${field} ${message}`, { field });
}

function pidNamespace(pid: number | string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    // it has ended, or is somebody else's
    return undefined;
  }
}

/** See {@link Cgroup}. */
export class NoCgroup implements Cgroup {
  readonly path = '';
  readonly placement: CgroupPlacement = { v1: [], v2: undefined, oomEvents: undefined };
  readonly #pid: () => number;

  /** @param pid of the first process; 0 when there is none */
  constructor(pid: () => number) {
    this.#pid = pid;
  }

  create(): void {}

  apply(resources: LinuxResources): void {
    for (const { field, used } of NEEDS) {
      if (used(resources)) throw refusal(`linux.resources.${field}`);
    }
    if (resources.devices?.length) throw refusal('linux.resources.devices');
    if (Object.keys(resources.unified ?? {}).length > 0) throw refusal('linux.resources.unified');
  }

  add(): void {
    throw refusal('linux.cgroupsPath');
  }

  delegate(): void {}

  pids(): number[] {
    const first = this.#pid();
    const namespace = first > 0 ? pidNamespace(first) : undefined;
    // in the host's there is nothing to tell the container's processes by
    if (namespace === undefined) return [];
    if (namespace === pidNamespace('self')) return [first];
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && pidNamespace(name) === namespace)
      .map(Number);
  }

  leafOf(): undefined {}

  async freeze(): Promise<void> {
    throw refusal('pausing');
  }

  async thaw(): Promise<void> {
    throw refusal('resuming');
  }

  frozen(): boolean {
    return false;
  }

  async kill(signal = SIGKILL): Promise<void> {
    const first = this.#pid();
    // with the first one of a pid namespace all others go
    signalAll(signal === SIGKILL && first > 0 ? [first] : this.pids(), signal);
  }

  stats(): ContainerStats {
    return { readAt: new Date() };
  }

  oomKills(): number {
    return 0;
  }

  async remove(): Promise<void> {}
}
