/** The tests of this checkout, run inside the virtual machine: which ones, and what came of them. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { runInMachine } from './machine.ts';
import type { MachineOptions, MachineParts } from './machine.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');

/** What asks things of the kernel, package by package: the other tests say the same on any. */
export const KERNEL_SUITES = ['runtime-native', 'layer-store', 'netdriver'].map((name) => {
  const folder = join('packages', name, 'test');
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  return {
    name,
    files: files.filter((file) => file.endsWith('.root.test.ts')).map((file) => join(folder, file)),
  };
});

/** The files that say most about another kernel and cgroup version in the time of a default test run. */
export const QUICK_SUITES = [
  'packages/runtime-native/test/cgroups/cgroups.root.test.ts',
  'packages/runtime-native/test/limits.root.test.ts',
  'packages/runtime-native/test/native-runtime.root.test.ts',
];

/** One test run inside. */
export interface SuiteResult {
  passed: number;
  /** Titles of what was skipped; the reason is in them. */
  skipped: string[];
  /** Each failed test or file with its message; also a machine that gave no result. */
  failed: string[];
}

interface Report {
  success: boolean;
  testResults: {
    name: string;
    status: string;
    message: string;
    assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
  }[];
}

/** Runs vitest inside, with `args` after `vitest run`. */
export async function runSuites(
  parts: MachineParts,
  args: readonly string[],
  options: MachineOptions & { full?: boolean },
): Promise<SuiteResult> {
  const quoted = args.map((arg) => `'${arg.replaceAll("'", "'\\''")}'`).join(' ');
  const script = [
    `export CI=1 NO_COLOR=1 ${options.full ? 'TARE_TEST_FULL=1' : ''}`,
    'mkdir /tmp/t && export TMPDIR=/tmp/t TARE_TEST_TMPDIR=/tmp/t',
    // as tools/test.mjs does: what the tests leave in the network shows
    'unshare --net -- node node_modules/vitest/vitest.mjs run --project packages --configLoader native --testTimeout 120000 \\',
    `  --reporter=default --reporter=json --outputFile=/run/result ${quoted} 2>&1 | cat`,
  ];
  const { result, console } = await runInMachine(parts, `${script.join('\n')}\n`, options);
  if (result === '') return { passed: 0, skipped: [], failed: [`no result from the machine:\n${console}`] };
  const { success, testResults } = JSON.parse(result) as Report;
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
  const failed = testResults.flatMap(failures);
  // no test at all, or something around them: only the console tells
  if (failed.length === 0 && !success) failed.push(`the test run failed as a whole:\n${console}`);
  return {
    passed: tests.filter(({ status }) => status === 'passed').length,
    skipped: tests
      .filter(({ status }) => status !== 'passed' && status !== 'failed')
      .map(({ fullName }) => fullName),
    failed,
  };
}

function failures({ name, status, message, assertionResults }: Report['testResults'][number]): string[] {
  const failed = assertionResults
    .filter((test) => test.status === 'failed')
    .map(({ fullName, failureMessages }) => `${name}: ${fullName}\n${failureMessages.join('\n')}`);
  // the file itself did not load, or a hook failed
  return failed.length === 0 && status === 'failed' ? [`${name}\n${message}`] : failed;
}
