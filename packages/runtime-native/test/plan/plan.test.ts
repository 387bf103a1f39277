import { existsSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { plan } from '../../src/index.ts';
import { defaultSpec } from '../../src/spec/index.ts';

describe.skipIf(process.platform !== 'linux')('the launch plan of a spec', () => {
  const rootfs = [{ type: 'bind', source: '/image', options: ['ro'] }];

  it('is a list of operations, and prints one a line, with nothing made', () => {
    const spec = defaultSpec(['/bin/true']);
    const launch = plan(spec, { rootfs, stateDirectory: '/nowhere/at/all', cgroupPath: '/tare-plan' });
    expect(launch.operations[0]).toEqual(['STDIO', 0, 0, 0]);
    const lines = String(launch).trimEnd().split('\n');
    expect(lines).toHaveLength(launch.operations.length);
    expect(lines).toContain('SCRATCH directory="/nowhere/at/all"');
    expect(lines.at(-1)).toMatch(/^EXEC arguments=\["\/bin\/true"\]/);
    expect(existsSync('/nowhere')).toBe(false);
  });

  it('is refused as the container would be', () => {
    const spec = defaultSpec(['/bin/true']);
    spec.linux!.sysctl = { 'kernel.core_pattern': 'x' };
    expect(() => plan(spec, { rootfs })).toThrow(
      expect.objectContaining({ code: 'INVALID_SPEC', field: 'linux.sysctl["kernel.core_pattern"]' }),
    );
  });
});
