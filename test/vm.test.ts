/** The packages that talk to the kernel on a second one: Linux 6.1 with cgroup v2 alone, in a virtual machine. */
import { describe, expect, it } from 'vitest';

import { prepareMachine } from './lab/vm/machine.ts';
import type { MachineParts } from './lab/vm/machine.ts';
import { KERNEL_SUITES, QUICK_SUITES, runSuites } from './lab/vm/suites.ts';

const full = process.env.TARE_TEST_FULL === '1';
/** For each machine. Emulation is ten to thirty times slower than the real one. */
const LIMIT_SECONDS = full ? 1800 : 300;

const parts: MachineParts | string = await prepareMachine().catch((error: unknown) => String(error));
const reason = typeof parts === 'string' ? ` (no virtual machine: ${parts})` : '';
if (reason) console.warn(`skipped: the tests on another kernel${reason}`);

describe.skipIf(reason)(`on Linux 6.1 with cgroup v2 alone${reason}`, () => {
  // a machine for each package: what one of them does to its kernel is not the next one's
  const suites = full ? KERNEL_SUITES : [{ name: 'runtime-native in short', files: QUICK_SUITES }];
  it.each(suites)('$name passes', { timeout: (LIMIT_SECONDS + 30) * 1000 }, async ({ files }) => {
    const limit = { limitSeconds: LIMIT_SECONDS, full };
    const { passed, failed } = await runSuites(parts as MachineParts, files, limit);
    expect(failed).toEqual([]);
    expect(passed).toBeGreaterThan(20);
  });
});
