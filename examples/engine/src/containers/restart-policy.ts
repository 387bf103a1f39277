/** Whether and when a container that ended is started again. Pure. */
import type { RestartPolicy } from './host-config.ts';

/** Delay before the first restart; each one after it waits twice as long. */
const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 60_000;
/** A run this long counts as a success: the delays begin anew. */
const STABLE_RUN_MS = 10_000;

/** What the decision depends on. */
export interface ExitFacts {
  exitCode: number;
  /** Restarts so far. */
  restartCount: number;
  /** A client stopped it. */
  manuallyStopped: boolean;
}

/** Whether `policy` starts it again after this exit. */
export function shouldRestart(policy: RestartPolicy, exit: ExitFacts): boolean {
  switch (policy.Name) {
    case 'always':
      return true;
    case 'unless-stopped':
      return !exit.manuallyStopped;
    case 'on-failure': {
      const max = policy.MaximumRetryCount ?? 0;
      return exit.exitCode !== 0 && (max === 0 || exit.restartCount < max);
    }
    default:
      return false;
  }
}

/** The delay before the next restart, from the one before (0 for none) and how long the container ran. */
export function nextRestartDelay(previousMs: number, ranMs: number): number {
  if (previousMs === 0 || ranMs >= STABLE_RUN_MS) return FIRST_DELAY_MS;
  return Math.min(previousMs * 2, MAX_DELAY_MS);
}
