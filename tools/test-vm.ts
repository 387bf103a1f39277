/**
 * `npm run test:vm [-- <vitest arguments>]`: the tests of the packages that talk to the kernel, on Debian's 6.1 kernel with
 * cgroup v2 alone, in a virtual machine. Without arguments every test of theirs; with some, for example a test file or
 * `-t <name>`, what they select.
 */
import { prepareMachine } from '../test/lab/vm/machine.ts';
import { KERNEL_SUITES, runSuites } from '../test/lab/vm/suites.ts';

/** For each package. Emulation is ten to thirty times slower than the machine: all suites take half an hour. */
const LIMIT_SECONDS = 1800;

const args = process.argv.slice(2).filter((arg) => arg !== '--full');
const full = process.argv.includes('--full');
const parts = await prepareMachine();
// what runs is ended on the way out
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
// a machine for each package: what one of them does to its kernel is not the next one's
const runs = args.length > 0 ? [args] : KERNEL_SUITES.map(({ files }) => files);
const total = { passed: 0, skipped: new Set<string>(), failed: [] as string[] };
for (const run of runs) {
  const { passed, skipped, failed } = await runSuites(parts, run, {
    limitSeconds: LIMIT_SECONDS,
    full,
    onConsole: (text) => process.stdout.write(text),
  });
  total.passed += passed;
  for (const title of skipped) total.skipped.add(title);
  total.failed.push(...failed);
}
for (const failure of total.failed) process.stdout.write(`\nfailed: ${failure}\n`);
for (const title of total.skipped) process.stdout.write(`skipped: ${title}\n`);
process.stdout.write(
  `${total.passed} passed, ${total.failed.length} failed, ${total.skipped.size} kinds of tests skipped\n`,
);
process.exitCode = total.failed.length > 0 ? 1 : 0;
