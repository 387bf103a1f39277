/**
 * The whole default test suite: format, lint, types, package checks, then every test on the real kernel in network
 * and mount namespaces of its own. `npm test -- <vitest arguments>` runs only the tests named.
 *
 * With `--full` the slow suites run too (see CONTRIBUTING.md).
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMPONENTS, componentPath, fetchComponents } from '../test/lab/debian.ts';
import { fetchDebianBase } from '../test/lab/debian-base.ts';
import { prepareMachine } from '../test/lab/vm/machine.ts';
import { prepareSystemdMachine } from '../test/lab/vm/systemd.ts';

const root = join(import.meta.dirname, '..');
const args = process.argv.slice(2).filter((arg) => arg !== '--full');
const full = process.argv.includes('--full');
const started = Date.now();

await reportComponents();
const failed = [];
if (args.length === 0) {
  stage('format', 'oxfmt', ['--check']);
  stage('lint', 'oxlint', ['--deny-warnings']);
  stage('types', 'tsc', ['-p', 'tsconfig.json']);
  stage('types of the dashboard', 'tsc', ['-p', 'examples/engine/ui/tsconfig.json']);
  stage('packages', 'node', ['tools/check-packages.mjs']);
}
const counts = tests();

const seconds = ((Date.now() - started) / 1000).toFixed(0);
process.stdout.write(
  failed.length > 0
    ? `\nfailed after ${seconds} s: ${failed.join(', ')}\n`
    : `\nall stages passed in ${seconds} s\n`,
);
if (counts !== undefined) {
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
}
process.exit(failed.length > 0 ? 1 : 0);

/** Fetches what the tests need from Debian and names what cannot be had, with the tests it costs. */
async function reportComponents() {
  const missing = await fetchComponents();
  for (const { component, reason } of missing) {
    process.stdout.write(`not here: ${component.name} (Debian package ${component.package}): ${reason}\n`);
    process.stdout.write(`  not tested without it: ${component.costs}\n`);
  }
  const lacking = (what, costs) => (error) =>
    process.stdout.write(`not here: ${what}: ${error.message}\n  not tested without it: ${costs}\n`);
  if (full) {
    await fetchDebianBase().catch(lacking('a Debian base', 'builds of real projects'));
    await prepareSystemdMachine().catch(lacking('a machine with systemd', 'a release as a service of it'));
  }
  // made here: the tests themselves run without a way to Debian
  if (args.length === 0 || args.some((arg) => arg.includes('vm'))) {
    await prepareMachine().catch(lacking('a virtual machine', 'a second kernel'));
  }
  const found = Object.values(COMPONENTS).filter((component) => componentPath(component) !== undefined);
  process.stdout.write(`real components: ${found.map(({ name }) => name).join(', ') || 'none'}\n`);
}

/** Runs one check with its output shown only when it fails. */
function stage(name, command, commandArgs) {
  const began = Date.now();
  const result = spawnSync(command, commandArgs, { cwd: root, encoding: 'utf8', maxBuffer: 256 << 20 });
  const ok = result.status === 0;
  process.stdout.write(
    `${ok ? 'ok    ' : 'FAILED'} ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)\n`,
  );
  if (!ok) {
    failed.push(name);
    process.stdout.write(`${result.error?.message ?? ''}${result.stdout}${result.stderr}`);
  }
}

/**
 * Runs vitest, as root in fresh network and mount namespaces: bridges, addresses, firewall tables and mounts of the tests
 * never meet the machine's own. Temporary files go to a folder that must be empty at the end.
 */
function tests() {
  // short: unix socket paths below it must stay under 108 bytes
  const temporary = mkdtempSync(join(tmpdir(), 'tt-'));
  // some tests become another user, who needs a place for files too
  chmodSync(temporary, 0o1777);
  const report = `${temporary}.json`;
  const vitest = [
    'vitest',
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile=${report}`,
    ...args,
  ];
  const own = ['--net', '--mount'];
  const isolated = process.getuid() === 0 && spawnSync('unshare', [...own, 'true']).status === 0;
  if (!isolated)
    process.stdout.write('not root, or no namespaces: tests that need them are skipped and say so\n');
  const [command, ...commandArgs] = isolated ? ['unshare', ...own, '--', ...vitest] : vitest;
  try {
    const result = spawnSync(command, commandArgs, {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        ...process.env,
        TMPDIR: temporary,
        TARE_TEST_TMPDIR: temporary,
        ...(full ? { TARE_TEST_FULL: '1' } : {}),
      },
    });
    if (result.status !== 0) failed.push('tests');
    const results = JSON.parse(readFileSync(report, 'utf8'));
    for (const reason of skipReasons(results)) process.stdout.write(`skipped: ${reason}\n`);
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = results;
    return { passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests + numTodoTests };
  } catch (error) {
    failed.push(`tests (${error.message})`);
    return undefined;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
    rmSync(report, { force: true });
  }
}

/** What was skipped, one line for each group that was left out whole or for each test: the title says why. */
function skipReasons({ testResults }) {
  const results = testResults.flatMap(({ assertionResults }) => assertionResults);
  const isSkipped = ({ status }) => status === 'pending' || status === 'skipped';
  const groupOf = ({ ancestorTitles, title }) => ancestorTitles.at(0) ?? title;
  const groupsThatRan = new Set(results.filter((result) => !isSkipped(result)).map(groupOf));
  return new Set(
    results
      .filter(isSkipped)
      .map((result) => (groupsThatRan.has(groupOf(result)) ? result.fullName : groupOf(result))),
  );
}
