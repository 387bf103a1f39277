/** Shows a build in the form that was asked for. */
import type { Cli } from '../cli.ts';
import { paint } from '../paint.ts';
import type { ProgressMode } from '../progress.ts';
import { plainView, type BuildView } from './plain-progress.ts';
import { BuildProgress, type StatusMessage } from './progress.ts';
import { terminalView } from './terminal-progress.ts';

/** Takes what the daemon tells; disposed of, it says what has failed. */
export interface ShownBuild extends Disposable {
  take(message: StatusMessage): void;
}

export function showBuild(cli: Cli, mode: ProgressMode): ShownBuild {
  const progress = new BuildProgress();
  const drawn = mode === 'tty' || (mode === 'auto' && cli.stderr.isTTY === true);
  const quiet: BuildView = { show: () => undefined, [Symbol.dispose]: () => undefined };
  const view =
    mode === 'quiet' || mode === 'json'
      ? quiet
      : drawn
        ? terminalView(cli.stderr, progress, (color, text) => paint(cli, cli.stderr, color, text))
        : plainView((text) => cli.stderr.write(text));
  return {
    take(message) {
      const news = progress.take(message);
      view.show(news);
      if (mode === 'json') cli.stderr.write(`${JSON.stringify(jsonOf(news))}\n`);
    },
    [Symbol.dispose]() {
      view[Symbol.dispose]();
      for (const step of progress.steps) {
        if (step.error === '' || step.lines.length === 0) continue;
        const last = [...step.lines, step.rest].filter((line) => line !== '').slice(-10);
        cli.stderr.write(`------\n > ${step.name}:\n${last.join('\n')}\n------\n`);
      }
    },
  };
}

/** News without the state of the steps that they are about. */
function jsonOf({ begun, lines, moved, ended, warnings }: ReturnType<BuildProgress['take']>): object {
  return {
    begun: begun.map(({ number, name }) => ({ step: number, name })),
    lines: lines.map(({ step, text }) => ({ step: step.number, text })),
    moved: moved.map(({ step, movement }) => ({ step: step.number, ...movement })),
    ended: ended.map(({ number, cached, error }) => ({ step: number, cached, error })),
    warnings,
  };
}
