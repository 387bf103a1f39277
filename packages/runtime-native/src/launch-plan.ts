/** What the helper is to do for a container, from what the caller said and what this machine has. */
import { basename, resolve } from 'node:path';

import { caller } from './caller.ts';
import type { Cgroup } from './cgroups/cgroup.ts';
import { CgroupRoot } from './cgroups/root.ts';
import { effectiveSpec } from './effective-spec.ts';
import type { RuntimeError } from './errors.ts';
import { compileContainer } from './plan/compile.ts';
import type { CgroupPlacement } from './plan/context.ts';
import type { HookSubject } from './plan/hooks.ts';
import { formatPlan } from './plan/operations.ts';
import type { Plan } from './plan/operations.ts';
import { parseSpec } from './plan/validate.ts';
import type { CreateOptions } from './runtime.ts';
import { seccompFilter } from './seccomp-filter.ts';
import { securityModules } from './security-modules.ts';
import type { Spec } from './spec/config.ts';

/** Input of {@link plan} besides the spec. */
export interface PlanOptions extends Omit<CreateOptions, 'spec' | 'signal'> {
  /** Where the container's state would be. Default `/run/tare/container`. */
  stateDirectory?: string;
  /** The container's cgroup in every hierarchy. Default: `container` where a runtime's cgroups would be. */
  cgroupPath?: string;
  /** Told of what the container would do without. Default: nobody. */
  onWarning?: (warning: RuntimeError) => void;
}

/** What the helper would do, in order. As a string: one operation a line. */
export interface LaunchPlan {
  readonly operations: Plan;
  toString(): string;
}

/**
 * The launch plan of a container, without making anything: exactly what `create` hands to the helper. Cgroup limits are
 * not in it; they are set before the helper starts.
 *
 * @throws {RuntimeError} `INVALID_SPEC` or `UNSUPPORTED` with `field`, as {@link Runtime.create} does
 * @example
 * console.log(String(plan(spec)));
 */
export function plan(spec: Spec, options: PlanOptions = {}): LaunchPlan {
  const { stateDirectory = '/run/tare/container', cgroupPath, onWarning = () => {} } = options;
  const checked = effectiveSpec(parseSpec(spec), caller());
  const subject = { id: basename(stateDirectory), bundle: resolve(options.bundle ?? '.') };
  const cgroup = new CgroupRoot().open(cgroupPath ?? new CgroupRoot().path('container', undefined), () => 0);
  const operations = compile(checked, options, subject, stateDirectory, cgroup, onWarning);
  return { operations, toString: () => formatPlan(operations) };
}

/** The plan of a container whose spec is in order. @throws {RuntimeError} `INVALID_SPEC`, `UNSUPPORTED` */
export function compile(
  spec: Spec,
  options: Omit<CreateOptions, 'spec'>,
  subject: HookSubject,
  directory: string,
  cgroup: Cgroup,
  warn: (warning: RuntimeError) => void,
): Plan {
  return compileContainer(spec, {
    scratch: directory,
    subject,
    rootfs: options.rootfs,
    lookUp: options.lookUp,
    pivot: options.pivot,
    newKeyring: options.newKeyring,
    stdio: options.stdio ?? {},
    cgroups: placementOf(cgroup),
    seccomp: spec.linux?.seccomp && seccompFilter(spec.linux.seccomp),
    caller: caller(),
    warn,
    securityModules: securityModules(),
  });
}

/** The compiler's view of a cgroup. */
export function placementOf(cgroup: Cgroup): CgroupPlacement | undefined {
  const { v1, v2, oomEvents } = cgroup.placement;
  if (v1.length === 0 && v2 === undefined) return undefined;
  const hierarchies = [...v1, ...(v2 === undefined ? [] : [v2])].map((directory) => {
    const mountPoint = directory.slice(0, -cgroup.path.length);
    const name = mountPoint.slice(mountPoint.lastIndexOf('/') + 1);
    // controllers mounted together are found by each of their names
    return { name, directory, links: name.includes(',') ? name.split(',') : [] };
  });
  return {
    tasks: v1.map((directory) => `${directory}/tasks`),
    birth: v2,
    oomEvents,
    unified: v1.length === 0,
    hierarchies,
  };
}
