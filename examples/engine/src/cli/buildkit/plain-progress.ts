/** A build's progress as lines, for logs and pipes. */
import { decimalSize } from '../format/units.ts';
import { seconds, type Movement, type News, type Step } from './progress.ts';

/** Shows what comes; disposed when the build is over. */
export interface BuildView extends Disposable {
  show(news: News): void;
}

/** Every line begins with the number of its step; between steps there is an empty line. */
export function plainView(write: (text: string) => void): BuildView {
  let last: Step | undefined;
  const line = (step: Step, text: string): void => {
    if (last !== undefined && last !== step) write('\n');
    if (last !== step && last !== undefined && step.startedMs !== undefined && said.has(step)) {
      write(`#${step.number} ${step.name}\n`);
    }
    said.add(step);
    last = step;
    write(`#${step.number} ${text}\n`);
  };
  const said = new Set<Step>();
  return {
    show({ begun, lines, moved, ended, warnings }) {
      for (const step of begun) line(step, step.name);
      // of what moves, only that it is done: there is no end of lines otherwise
      for (const { step, movement } of moved) {
        if (movement.endedMs !== undefined) line(step, `${movementText(movement)} done`);
      }
      for (const { step, text, atMs } of lines) {
        line(step, `${((atMs - (step.startedMs ?? atMs)) / 1000).toFixed(3)} ${text}`);
      }
      for (const step of ended) line(step, endText(step));
      for (const { short } of warnings) write(`\nWARN: ${short}\n`);
    },
    [Symbol.dispose]: () => undefined,
  };
}

/** How a step ended, in a word. */
export function endText(step: Step): string {
  if (step.error !== '') return `ERROR: ${step.error}`;
  if (step.cached) return 'CACHED';
  return `DONE ${seconds((step.endedMs ?? 0) - (step.startedMs ?? 0))}`;
}

/** `sha256:… 1.2MB / 3.4MB` */
export function movementText({ id, current, total }: Movement): string {
  if (total > 0) return `${id} ${decimalSize(current)} / ${decimalSize(total)}`;
  return current > 0 ? `${id} ${decimalSize(current)}` : id;
}
