import { describe, expect, test } from 'vitest';

import { parseSeccompProfile } from '../../src/seccomp.ts';

const machine = { arch: 'x64', kernel: '6.1.0-18-amd64' };

function names(rules: object[], capabilities: string[] = []): string[] {
  const text = JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: rules });
  const { syscalls } = parseSeccompProfile(text, { ...machine, capabilities });
  return syscalls!.flatMap((rule) => rule.names);
}

describe('a profile in the format of Docker', () => {
  test('keeps rules whose conditions hold here', () => {
    const allow = { action: 'SCMP_ACT_ALLOW' };
    expect(
      names(
        [
          { ...allow, names: ['always'] },
          { ...allow, name: 'old_style' },
          { ...allow, names: ['here'], includes: { arches: ['amd64', 'x32'] } },
          { ...allow, names: ['elsewhere'], includes: { arches: ['s390x'] } },
          { ...allow, names: ['not_here'], excludes: { arches: ['amd64'] } },
          { ...allow, names: ['new_enough'], includes: { minKernel: '4.8' } },
          { ...allow, names: ['too_old'], includes: { minKernel: '6.10' } },
          { ...allow, names: ['with'], includes: { caps: ['CAP_SYS_ADMIN'] } },
          { ...allow, names: ['with_both'], includes: { caps: ['CAP_SYS_ADMIN', 'CAP_SYS_BOOT'] } },
          { ...allow, names: ['without'], excludes: { caps: ['CAP_SYS_ADMIN'] } },
          { ...allow, names: ['nulls'], args: null, includes: {}, excludes: null, comment: 'x' },
        ],
        ['CAP_SYS_ADMIN'],
      ),
    ).toEqual(['always', 'old_style', 'here', 'new_enough', 'with', 'nulls']);
  });

  test('takes the architectures of this machine from the map', () => {
    const archMap = [
      { architecture: 'SCMP_ARCH_AARCH64', subArchitectures: ['SCMP_ARCH_ARM'] },
      { architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'] },
      { architecture: 'SCMP_ARCH_RISCV64', subArchitectures: null },
    ];
    const text = JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', archMap, syscalls: [] });
    expect(parseSeccompProfile(text, machine).architectures).toEqual([
      'SCMP_ARCH_X86_64',
      'SCMP_ARCH_X86',
      'SCMP_ARCH_X32',
    ]);
    expect(parseSeccompProfile(text, { ...machine, arch: 'arm64' }).architectures).toContain('SCMP_ARCH_ARM');
  });

  test.each([
    ['not JSON', '{'],
    ['an unknown action', '{"defaultAction":"SCMP_ACT_SING"}'],
    ['no default', '{"syscalls":[]}'],
    [
      'a rule with both kinds of names',
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_KILL"}]}',
    ],
    ['a rule without names', '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_KILL"}]}'],
    [
      'both lists of architectures',
      '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}',
    ],
    [
      'a seventh argument',
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_KILL","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}',
    ],
  ])('is refused for %s', (_, text) => {
    expect(() => parseSeccompProfile(text, machine)).toThrowError(
      expect.objectContaining({ code: 'INVALID_SPEC' }),
    );
  });
});
