import { describe, expect, it } from 'vitest';

import { parseSpec } from '../../src/plan/validate.ts';
import { CAPABILITIES, capabilityMask, defaultSpec, specSchema } from '../../src/spec/index.ts';
import type { Spec } from '../../src/spec/index.ts';

describe('the runtime spec', () => {
  it('accepts the default container', () => {
    expect(specSchema.parse(defaultSpec(['true']))).toEqual(defaultSpec(['true']));
  });

  it('ignores unknown properties', () => {
    expect(parseSpec({ ...defaultSpec(['true']), future: 1 })).toEqual(defaultSpec(['true']));
  });

  it('names the field that is wrong', () => {
    const cases: [field: string, change: (spec: Spec) => unknown][] = [
      ['ociVersion', (spec) => (spec.ociVersion = '2.0')],
      ['process.args', (spec) => (spec.process!.args = [])],
      ['process.args[0]', (spec) => (spec.process!.args = ['a\0b'])],
      ['process.env[0]', (spec) => (spec.process!.env = ['NAME'])],
      ['process.user.gid', (spec) => (spec.process!.user.gid = -1)],
      ['process.user.additionalGids[0]', (spec) => (spec.process!.user.additionalGids = [2 ** 32])],
      ['process.capabilities.bounding[0]', (spec) => (spec.process!.capabilities!.bounding = ['CAP_MAGIC'])],
      [
        'process.rlimits[0].type',
        (spec) => Object.assign(spec.process!, { rlimits: [{ type: 'X', soft: 1, hard: 1 }] }),
      ],
      ['linux.maskedPaths[0]', (spec) => (spec.linux!.maskedPaths = ['proc'])],
      ['linux.resources.memory.limit', (spec) => (spec.linux!.resources = { memory: { limit: 1.5 } })],
      ['linux.sysctl.../x', (spec) => (spec.linux!.sysctl = { '../x': '1' })],
      ['hostname', (spec) => (spec.hostname = 'x'.repeat(65))],
    ];
    for (const [field, change] of cases) {
      const spec = defaultSpec(['true']);
      change(spec);
      expect(() => parseSpec(spec), field).toThrow(expect.objectContaining({ code: 'INVALID_SPEC', field }));
    }
  });

  it('takes "unlimited" of 64 bits', () => {
    const spec = defaultSpec(['true']);
    const limit: unknown = JSON.parse(
      '{"type":"RLIMIT_CORE","soft":18446744073709551615,"hard":18446744073709551615}',
    );
    Object.assign(spec.process!, { rlimits: [limit] });
    expect(() => parseSpec(spec)).not.toThrow();
  });

  it('numbers capabilities as the kernel does', () => {
    expect(CAPABILITIES).toHaveLength(41);
    expect(capabilityMask(['CAP_CHOWN', 'CAP_SYS_ADMIN', 'CAP_CHECKPOINT_RESTORE'])).toBe(
      1n | (1n << 21n) | (1n << 40n),
    );
  });
});
