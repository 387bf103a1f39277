/**
 * Makes a container with no descriptor free, then with one, then with two, until it succeeds, and prints how each attempt
 * ended with what it left. Its argument is JSON: options of the runtime, of the container, and folders to look at.
 */
import { closeSync, existsSync, openSync, readFileSync, readdirSync } from 'node:fs';

import { createNativeRuntime } from '../../src/native-runtime.ts';
import type { NativeRuntimeOptions } from '../../src/native-runtime.ts';
import type { CreateOptions } from '../../src/runtime.ts';

/** What the test passes. */
export interface Input {
  runtime: NativeRuntimeOptions;
  container: CreateOptions;
  /** Must be empty, or not there, after a failure. */
  folders: string[];
}

/** One line of the output. */
export interface Attempt {
  /** `made`, or code and message of the error. */
  outcome: string;
  /** What is in the folders, and the children that have not ended. */
  left: string[];
  /** Descriptors that were not open before. */
  leaked: number;
}

const input = JSON.parse(process.argv[2]!) as Input;
const runtime = createNativeRuntime(input.runtime);
// what every container shares, and what Node.js loads late, is there from now on
await (await runtime.create('c', input.container)).delete({ force: true });

const children = (): string[] =>
  readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean);
const opened = (): number => readdirSync('/proc/self/fd').length;
const left = (): string[] => [
  ...input.folders
    .flatMap((folder) => (existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : []))
    .filter((entry) => entry.isDirectory())
    .map((entry) => `${entry.parentPath}/${entry.name}`),
  ...children().map((pid) => `process ${pid}`),
];
const quiet = async (): Promise<void> => {
  const deadline = performance.now() + 2000;
  while (children().length > 0 && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 1));
};

await quiet();
const before = opened();
for (let free = 0, made = false; !made; free++) {
  const taken = takeAll();
  for (let i = 0; i < free; i++) closeSync(taken.pop()!);
  let outcome = 'made';
  try {
    const container = await runtime.create('c', input.container);
    made = true;
    taken.forEach((fd) => closeSync(fd));
    await container.delete({ force: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    outcome = `${code}: ${message}`;
    taken.forEach((fd) => closeSync(fd));
  }
  await quiet();
  const attempt: Attempt = { outcome, left: left(), leaked: opened() - before };
  process.stdout.write(`${JSON.stringify(attempt)}\n`);
}

/** Every descriptor that the limit leaves. */
function takeAll(): number[] {
  const taken: number[] = [];
  for (;;) {
    try {
      taken.push(openSync('/dev/null', 'r'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EMFILE') return taken;
      throw error;
    }
  }
}
