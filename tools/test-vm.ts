/**
 * `npm run test:vm [-- <vitest arguments>]`: the tests of the packages that talk to the kernel, on Debian's 6.1 kernel with
 * cgroup v2 alone, in a virtual machine. Without arguments every test of theirs; with some, for example a test file or
 * `-t <name>`, what they select.
 */
import { prepareMachine } from '../test/lab/vm/machine.ts';
import { ALL_SUITES, runSuites } from '../test/lab/vm/suites.ts';

/** Emulation is ten to thirty times slower than the machine: all suites take some minutes. */
const LIMIT_SECONDS = 1800;

const args = process.argv.slice(2).filter((arg) => arg !== '--full');
const full = process.argv.includes('--full');
const parts = await prepareMachine();
const { passed, skipped, failed } = await runSuites(parts, args.length > 0 ? args : ALL_SUITES, {
  limitSeconds: LIMIT_SECONDS,
  full,
  onConsole: (text) => process.stdout.write(text),
});
for (const failure of failed) process.stdout.write(`\nfailed: ${failure}\n`);
for (const title of new Set(skipped)) process.stdout.write(`skipped: ${title}\n`);
process.stdout.write(`${passed} passed, ${failed.length} failed, ${skipped.length} skipped\n`);
process.exitCode = failed.length > 0 ? 1 : 0;
