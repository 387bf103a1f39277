/** A build's progress on a terminal: a line a step, what runs with what it says, drawn again ten times a second. */
import type { OutputStream } from '../cli.ts';
import { ellipsis } from '../format/units.ts';
import { movementText, type BuildView } from './plain-progress.ts';
import { seconds, type BuildProgress, type Step } from './progress.ts';
import { screenOf } from '../screen.ts';

/** Lines of a command that runs. */
const LOG_LINES = 6;
const INTERVAL_MS = 100;

/** @param paint - puts a text in a colour, or does not */
export function terminalView(
  out: OutputStream,
  progress: BuildProgress,
  paint: (color: 'red' | 'dim' | 'yellow', text: string) => string,
): BuildView {
  const beganMs = Date.now();
  let drawn = 0;
  const draw = (done: boolean): void => {
    const screen = screenOf(out);
    const { columns } = screen;
    const rows = done ? Number.POSITIVE_INFINITY : screen.rows - 2;
    const lines = buildLines(progress.steps, {
      columns,
      rows,
      elapsedMs: Date.now() - beganMs,
      done,
      nowMs: Date.now(),
    });
    const up = drawn > 0 ? `\x1b[${drawn}A` : '';
    const text = lines.map(({ text: shown, color }) => `\x1b[2K${color ? paint(color, shown) : shown}\n`);
    // what was longer before is cleared
    out.write(`${up}\r${text.join('')}\x1b[0J`);
    drawn = lines.length;
  };
  const timer = setInterval(() => draw(false), INTERVAL_MS);
  return {
    show: () => undefined,
    [Symbol.dispose]() {
      clearInterval(timer);
      draw(true);
      for (const { short } of progress.warnings) out.write(`${paint('yellow', ` WARN: ${short}`)}\n`);
    },
  };
}

/** A line on the screen. */
export interface ScreenLine {
  text: string;
  color?: 'red' | 'dim';
}

/** What the screen shows: the steps that are over make room first. Pure. */
export function buildLines(
  steps: readonly Step[],
  at: { columns: number; rows: number; elapsedMs: number; nowMs: number; done: boolean },
): ScreenLine[] {
  const over = steps.filter(({ endedMs }) => endedMs !== undefined).length;
  const failed = steps.some(({ error }) => error !== '');
  const state = at.done ? (failed ? ' ERROR' : ' FINISHED') : '';
  const head = `[+] Building ${seconds(at.elapsedMs)} (${over}/${steps.length})${state}`;
  const blocks = steps.map((step) => stepLines(step, at));
  let count = blocks.reduce((sum, block) => sum + block.length, 0);
  const shown = blocks.filter((block, i) => {
    if (count <= at.rows || steps[i]!.endedMs === undefined) return true;
    count -= block.length;
    return false;
  });
  // of too many that run, the last
  return [{ text: ellipsis(head, at.columns) }, ...shown.flat().slice(-at.rows)];
}

function stepLines(step: Step, { columns, nowMs }: { columns: number; nowMs: number }): ScreenLine[] {
  const { name, cached, error, startedMs, endedMs, movements, lines } = step;
  const running = endedMs === undefined;
  const time = startedMs === undefined ? '' : seconds((endedMs ?? nowMs) - startedMs);
  const mark = error === '' ? (cached ? 'CACHED ' : '') : 'ERROR ';
  const title = aligned(` => ${mark}${name}`, time, columns);
  const result: ScreenLine[] = [
    error === ''
      ? { text: title, ...(running ? {} : { color: 'dim' as const }) }
      : { text: title, color: 'red' },
  ];
  if (!running) return result;
  for (const movement of movements.values()) {
    const moved = seconds((movement.endedMs ?? nowMs) - movement.startedMs);
    result.push({ text: aligned(` => => ${movementText(movement)}`, moved, columns) });
  }
  for (const text of lines.slice(-LOG_LINES)) {
    result.push({
      text: ellipsis(` => => # ${text.replaceAll(/\p{Cc}/gu, ' ')}`, columns),
      color: 'dim',
    });
  }
  return result;
}

function aligned(left: string, right: string, columns: number): string {
  const room = columns - right.length - 1;
  return `${ellipsis(left, room).padEnd(room)} ${right}`;
}
