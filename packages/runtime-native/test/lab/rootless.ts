/**
 * Runs containers as the caller, one after the other, and prints what became of them, as JSON: `node rootless.ts INPUT…`.
 * In a program of its own because the tests run as root.
 */
import { createNativeRuntime } from '../../src/native-runtime.ts';
import type { CreateOptions, ExecOptions } from '../../src/runtime.ts';
import { collect, runToEnd } from '../../src/testing/index.ts';
import type { RunResult } from '../../src/testing/index.ts';

/** What to do. */
export interface RootlessInput {
  stateDirectory?: string;
  cgroupRoot?: string;
  container: CreateOptions;
  /** Executed while the container runs, which is then killed. */
  exec?: ExecOptions;
  /** A second container, in the namespaces of the first one, which runs meanwhile and is then killed. */
  neighbour?: CreateOptions;
  /** Calls of the container whose outcome is wanted. */
  calls?: ('pause' | 'resume' | 'pids' | 'stats')[];
}

/** What became of it. */
export interface RootlessOutcome {
  warnings: (string | undefined)[];
  error?: { code?: string; field?: string; step?: string; errnoCode?: string; message: string };
  stdout?: string;
  stderr?: string;
  exitCode?: number;
  exec?: { stdout: string; exitCode: number };
  neighbour?: RunResult;
  calls: Record<string, unknown>;
  list: number;
}

async function outcomeOf(input: RootlessInput): Promise<RootlessOutcome> {
  const outcome: RootlessOutcome = { warnings: [], calls: {}, list: -1 };
  const { stateDirectory, cgroupRoot } = input;
  const runtime = createNativeRuntime({
    ...(stateDirectory === undefined ? {} : { stateDirectory }),
    ...(cgroupRoot === undefined ? {} : { cgroupRoot }),
    onWarning: ({ field }) => outcome.warnings.push(field),
  });
  try {
    const container = await runtime.create('c', input.container);
    try {
      const attachment = await container.attach();
      await container.start();
      if (input.exec) {
        await using process = await container.exec(input.exec);
        const { stdout } = await collect(await process.attach());
        outcome.exec = { stdout, exitCode: (await process.wait()).exitCode };
      }
      if (input.neighbour) {
        const { spec } = input.neighbour;
        for (const namespace of spec.linux!.namespaces!) {
          const name = namespace.type === 'network' ? 'net' : namespace.type;
          if (name !== 'mount' && name !== 'cgroup') namespace.path = `/proc/${container.pid}/ns/${name}`;
        }
        outcome.neighbour = await runToEnd(runtime, 'neighbour', { spec });
      }
      for (const call of input.calls ?? []) {
        outcome.calls[call] = await container[call]().then(
          (value) => (call === 'stats' ? Object.keys(value as object) : (value ?? 'done')),
          (error: { code: string }) => error.code,
        );
      }
      if (input.exec ?? input.calls ?? input.neighbour) await container.kill(9);
      Object.assign(outcome, await collect(attachment));
      outcome.exitCode = (await container.wait()).exitCode;
    } finally {
      await container.delete({ force: true });
    }
  } catch (error) {
    const { code, field, step, errnoCode, message } = error as NonNullable<RootlessOutcome['error']>;
    outcome.error = {
      message,
      ...(code && { code }),
      ...(field && { field }),
      ...(step && { step }),
      ...(errnoCode && { errnoCode }),
    };
  }
  outcome.list = (await runtime.list()).length;
  return outcome;
}

const outcomes: RootlessOutcome[] = [];
for (const input of process.argv.slice(2)) outcomes.push(await outcomeOf(JSON.parse(input) as RootlessInput));
process.stdout.write(JSON.stringify(outcomes));
