import { CAPABILITIES, DEFAULT_CAPABILITIES } from '@tare/runtime-native/spec';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { containerCapabilities } from '../../src/containers/capabilities.ts';

describe('containerCapabilities', () => {
  it('gives the default fourteen', () => {
    expect(containerCapabilities({})).toEqual([...DEFAULT_CAPABILITIES]);
  });

  it('adds and drops names in any spelling', () => {
    const result = containerCapabilities({ CapAdd: ['net_admin', 'CAP_SYS_TIME'], CapDrop: ['Chown'] });
    expect(result).toContain('CAP_NET_ADMIN');
    expect(result).toContain('CAP_SYS_TIME');
    expect(result).not.toContain('CAP_CHOWN');
  });

  it('understands ALL on either side', () => {
    expect(containerCapabilities({ CapDrop: ['ALL'] })).toEqual([]);
    expect(containerCapabilities({ CapDrop: ['ALL'], CapAdd: ['CHOWN'] })).toEqual(['CAP_CHOWN']);
    expect(containerCapabilities({ CapAdd: ['ALL'], CapDrop: ['SYS_ADMIN'] })).not.toContain('CAP_SYS_ADMIN');
    expect(containerCapabilities({ Privileged: true })).toEqual([...CAPABILITIES]);
  });

  it('never gives what was dropped and not added', () => {
    const names = fc.subarray([...CAPABILITIES]);
    fc.assert(
      fc.property(names, names, (CapAdd, CapDrop) => {
        const result = containerCapabilities({ CapAdd, CapDrop });
        expect(new Set(result).size).toBe(result.length);
        for (const name of CapDrop) if (!CapAdd.includes(name)) expect(result).not.toContain(name);
        for (const name of CapAdd) expect(result).toContain(name);
      }),
    );
  });
});
