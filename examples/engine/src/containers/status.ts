/** How a container's state reads: one word for programs, a phrase for people. */
import type { ContainerState } from './container.ts';

/** The words of `State.Status` and of the `status` filter. */
export const STATUS_WORDS = [
  'created',
  'running',
  'paused',
  'restarting',
  'removing',
  'exited',
  'dead',
] as const;
/** One of {@link STATUS_WORDS}. */
export type StatusWord = (typeof STATUS_WORDS)[number];

/** The one word for a state whose flags are not exclusive. */
export function statusWord(state: ContainerState): StatusWord {
  if (state.running) {
    if (state.paused) return 'paused';
    return state.restarting ? 'restarting' : 'running';
  }
  if (state.removing) return 'removing';
  if (state.dead) return 'dead';
  return state.startedAt === undefined ? 'created' : 'exited';
}

/** The phrase that `ps` shows: `Up 3 seconds`, `Exited (3) 5 seconds ago`, … */
export function statusPhrase(state: ContainerState, nowMs: number = Date.now()): string {
  const since = (time: string | undefined): string =>
    humanDuration(time === undefined ? 0 : nowMs - Date.parse(time));
  if (state.running) {
    if (state.paused) return `Up ${since(state.startedAt)} (Paused)`;
    if (state.restarting) return `Restarting (${state.exitCode}) ${since(state.finishedAt)} ago`;
    const { health } = state;
    const word = health?.status === 'starting' ? 'health: starting' : health?.status;
    return `Up ${since(state.startedAt)}${word ? ` (${word})` : ''}`;
  }
  if (state.removing) return 'Removal In Progress';
  if (state.dead) return 'Dead';
  if (state.startedAt === undefined) return 'Created';
  if (state.finishedAt === undefined) return '';
  return `Exited (${state.exitCode}) ${since(state.finishedAt)} ago`;
}

/** A duration rounded to one unit, as Docker's clients print them: `Less than a second`, `About an hour`, `3 days`. */
export function humanDuration(ms: number): string {
  const seconds = Math.trunc(ms / 1000);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  // hours are rounded, all other units are cut
  const hours = Math.trunc(ms / 3_600_000 + 0.5);
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  const days = Math.trunc(hours / 24);
  if (hours < 24 * 7 * 2) return `${days} days`;
  if (hours < 24 * 30 * 2) return `${Math.trunc(days / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(days / 30)} months`;
  return `${Math.trunc(Math.trunc(ms / 3_600_000) / 24 / 365)} years`;
}
