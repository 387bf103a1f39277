/** The packages that talk to the kernel on a second one: Linux 6.1 with cgroup v2 alone, in a virtual machine. */
import { describe, expect, it } from 'vitest';

import { prepareMachine } from './lab/vm/machine.ts';
import type { MachineParts } from './lab/vm/machine.ts';
import { ALL_SUITES, QUICK_SUITES, runSuites } from './lab/vm/suites.ts';

const full = process.env.TARE_TEST_FULL === '1';
/** Emulation is ten to thirty times slower than the machine. */
const LIMIT_SECONDS = full ? 1800 : 150;

const parts: MachineParts | string = await prepareMachine().catch((error: unknown) => String(error));
const reason = typeof parts === 'string' ? ` (no virtual machine: ${parts})` : '';
if (reason) console.warn(`skipped: the tests on another kernel${reason}`);

describe.skipIf(reason)(`on Linux 6.1 with cgroup v2 alone${reason}`, () => {
  it('the packages pass their tests', { timeout: (LIMIT_SECONDS + 30) * 1000 }, async () => {
    const suites = full ? ALL_SUITES : QUICK_SUITES;
    const limit = { limitSeconds: LIMIT_SECONDS, full };
    const { passed, failed } = await runSuites(parts as MachineParts, suites, limit);
    expect(failed).toEqual([]);
    expect(passed).toBeGreaterThan(20);
  });
});
