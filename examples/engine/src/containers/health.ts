/** Health checks: a command run in the container now and then, and what its answers say about the container. */
import type { ContainerConfig, Healthcheck } from './create-request.ts';

/** One answer of a check. Times are RFC 3339 with nanoseconds. */
export interface HealthProbe {
  start: string;
  end: string;
  /** 0 is healthy; -1 when the check took too long or could not be run. */
  exitCode: number;
  /** The first 4,096 bytes of what it printed, or why it failed. */
  output: string;
}

/** What is known about a container's health. */
export interface Health {
  status: 'starting' | 'healthy' | 'unhealthy';
  /** Failures since the last success that count. */
  failingStreak: number;
  /** The last {@link LOG_LENGTH} answers, oldest first. */
  log: HealthProbe[];
}

/** How many answers are kept. */
const LOG_LENGTH = 5;
/** How many bytes of an answer are kept. */
export const PROBE_OUTPUT_BYTES = 4096;

const NS_PER_MS = 1_000_000;

/** A container's check with the defaults filled in; times in milliseconds. */
export interface HealthPlan {
  args: string[];
  intervalMs: number;
  timeoutMs: number;
  /** How long failures do not count, unless a check has succeeded before. */
  startPeriodMs: number;
  /** In place of the interval during the start period. */
  startIntervalMs: number;
  retries: number;
}

/** The health of a container that has just started; undefined when it has no check. */
export function initialHealth(config: ContainerConfig): Health | undefined {
  return healthPlan(config) && { status: 'starting', failingStreak: 0, log: [] };
}

/** What is to be run, and when; undefined when there is no check. */
export function healthPlan(config: ContainerConfig): HealthPlan | undefined {
  const check = config.Healthcheck;
  const args = check && checkCommand(check, config);
  if (!args) return undefined;
  const ms = (value: number | undefined, fallback: number): number =>
    value === undefined || value === 0 ? fallback : value / NS_PER_MS;
  return {
    args,
    intervalMs: ms(check.Interval, 30_000),
    timeoutMs: ms(check.Timeout, 30_000),
    startPeriodMs: ms(check.StartPeriod, 0),
    startIntervalMs: ms(check.StartInterval, 5_000),
    retries: check.Retries || 3,
  };
}

function checkCommand(check: Healthcheck, config: ContainerConfig): string[] | undefined {
  const [kind, ...rest] = check.Test ?? [];
  if (kind === 'CMD' && rest.length > 0) return rest;
  if (kind === 'CMD-SHELL') return [...(config.Shell?.length ? config.Shell : ['/bin/sh', '-c']), ...rest];
  return undefined;
}

/** How long to wait for the next check. */
export function nextProbeMs(plan: HealthPlan, health: Health, runsForMs: number): number {
  const starting = health.status === 'starting' && runsForMs < plan.startPeriodMs;
  return starting ? plan.startIntervalMs : plan.intervalMs;
}

/** The health after one more answer. `runsForMs`: how long the container had run when the check began. */
export function afterProbe(health: Health, probe: HealthProbe, plan: HealthPlan, runsForMs: number): Health {
  const log = [...health.log, probe].slice(-LOG_LENGTH);
  if (probe.exitCode === 0) return { status: 'healthy', failingStreak: 0, log };
  const forgiven = health.status === 'starting' && runsForMs < plan.startPeriodMs;
  if (forgiven) return { ...health, log };
  const failingStreak = health.failingStreak + 1;
  return { status: failingStreak >= plan.retries ? 'unhealthy' : health.status, failingStreak, log };
}
