/** What a build tells of itself while it runs. */
import type { Digest } from '@tare/image-spec';

import type { LintWarning } from './dockerfile/lint.ts';

/** A step of a build, as its clients are told of it. */
export interface BuildStep {
  /** Unique in the build. */
  id: string;
  /** For people: `[builder 2/3] RUN make`. */
  name: string;
  /** The instruction as written. */
  text: string;
  /**
   * `file`: changes the file system; `config`: changes what is known of the image alone; `trigger`: an instruction that
   * the base image brought; `transfer`: something is fetched or written, which is no instruction.
   */
  kind: 'file' | 'config' | 'trigger' | 'transfer';
  /** Ids of the steps it waits for. */
  inputs: readonly string[];
}

/** What tells a client of one step. `end` is its last call. */
export interface StepOutput {
  /** A piece of what a command writes, with its line ends. */
  write(data: Uint8Array): void;
  /** Something of many that move: a layer, the files of a context. */
  progress(id: string, bytes: { current: number; total?: number | undefined; done: boolean }): void;
  /** One line about what happens, for clients without bars. */
  say(text: string): void;
  /** The result was there already. */
  cached(): void;
  /** The result, if it is a new layer. */
  made(chainId: Digest): void;
  end(error?: unknown): void;
}

/** What tells a client of the build. */
export interface BuildOutput {
  begin(step: BuildStep): StepOutput;
  /** @param lint - what of the Dockerfile it is about, if that is a rule */
  warn(text: string, lint?: LintWarning): void;
}

/** A step that is no instruction: something is fetched or written. */
export function transfer(id: string, name: string): BuildStep {
  return { id, name, text: '', kind: 'transfer', inputs: [] };
}

/** Tells of `work` as a step. */
export async function asStep<T>(
  output: BuildOutput,
  step: BuildStep,
  work: (output: StepOutput) => Promise<T>,
): Promise<T> {
  const told = output.begin(step);
  try {
    const result = await work(told);
    told.end();
    return result;
  } catch (error) {
    told.end(error);
    throw error;
  }
}
