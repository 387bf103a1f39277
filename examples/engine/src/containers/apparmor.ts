/** AppArmor: which profile a container's processes get, where the kernel has it. */
import { readFileSync } from 'node:fs';

import { invalid } from '../errors.ts';

/** The profile that containers of dockerd have; used when it is loaded. */
const DEFAULT_PROFILE = 'docker-default';

/** What the kernel says. */
export interface AppArmorFacts {
  enabled: boolean;
  /** Whether a profile is loaded. */
  loaded(name: string): boolean;
}

/** Asks this machine's kernel. Which profiles are loaded changes while it runs. */
export const kernelAppArmor: AppArmorFacts = {
  get enabled() {
    return read('/sys/module/apparmor/parameters/enabled').startsWith('Y');
  },
  loaded: (name) =>
    read('/sys/kernel/security/apparmor/profiles')
      .split('\n')
      .some((line) => line.replace(/ \([^)]*\)$/, '') === name),
};

/**
 * The profile of a container; undefined for none. Without AppArmor what was asked for is left aside, as dockerd does.
 *
 * @param wanted - of `apparmor=…`; undefined when nothing was said
 * @throws {EngineError} `INVALID` for a profile that is not loaded
 */
export function appArmorProfile(
  wanted: string | undefined,
  privileged: boolean,
  { enabled, loaded }: AppArmorFacts = kernelAppArmor,
): string | undefined {
  if (!enabled || wanted === 'unconfined') return undefined;
  if (wanted === undefined || wanted === '') {
    return !privileged && loaded(DEFAULT_PROFILE) ? DEFAULT_PROFILE : undefined;
  }
  if (loaded(wanted)) return wanted;
  throw invalid(`AppArmor profile ${wanted} is not loaded: load it with apparmor_parser first`);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // a kernel without AppArmor, or securityfs is not mounted: then there are no profiles
    return '';
  }
}
