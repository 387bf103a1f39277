import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { AUDIT_ARCHITECTURE, X32_BIT, syscallNumbers } from '../../src/seccomp/architectures.ts';
import type { SeccompArchitecture } from '../../src/seccomp/architectures.ts';
import { compileSeccomp, defaultSeccompProfile, seccompFlags } from '../../src/seccomp.ts';
import { SECCOMP_OPERATORS } from '../../src/spec/index.ts';
import type { LinuxSeccomp } from '../../src/spec/index.ts';
import { run } from './interpreter.ts';

type Rule = NonNullable<LinuxSeccomp['syscalls']>[number];
type Condition = NonNullable<Rule['args']>[number];

const ALLOW = 0x7fff_0000;
const KILL_PROCESS = 0x8000_0000;
const errno = (number: number): number => 0x0005_0000 | number;
const EPERM = errno(1);
const ENOSYS = errno(38);
const NATIVE = 'SCMP_ARCH_X86_64';

function ask(
  program: Uint8Array,
  name: string,
  args: readonly (number | bigint)[] = [],
  architecture: SeccompArchitecture = NATIVE,
): number {
  const number = syscallNumbers(architecture).get(name);
  if (number === undefined) throw new Error(`no ${name} on ${architecture}`);
  const bit = architecture === 'SCMP_ARCH_X32' ? X32_BIT : 0;
  return askNumber(program, number + bit, args, architecture);
}

function askNumber(
  program: Uint8Array,
  number: number,
  args: readonly (number | bigint)[] = [],
  architecture: SeccompArchitecture = NATIVE,
): number {
  const six = Array.from({ length: 6 }, (_, index) => BigInt.asUintN(64, BigInt(args[index] ?? 0)));
  return run(program, { architecture: AUDIT_ARCHITECTURE[architecture], number, args: six });
}

const compile = (profile: LinuxSeccomp, arch = 'x64'): Uint8Array => compileSeccomp(profile, { arch });
const allowing = (...syscalls: Rule[]): Uint8Array => compile({ defaultAction: 'SCMP_ACT_ERRNO', syscalls });

describe('a compiled filter', () => {
  test('gives the default for what no rule names, and each action for what a rule names', () => {
    const program = compile({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 95,
      syscalls: [
        { names: ['read', 'no_such_call'], action: 'SCMP_ACT_ALLOW' },
        { names: ['write'], action: 'SCMP_ACT_ERRNO', errnoRet: 13 },
        { names: ['open'], action: 'SCMP_ACT_KILL' },
        { names: ['close'], action: 'SCMP_ACT_KILL_PROCESS' },
        { names: ['stat'], action: 'SCMP_ACT_TRAP' },
        { names: ['poll'], action: 'SCMP_ACT_TRACE', errnoRet: 7 },
        { names: ['lseek'], action: 'SCMP_ACT_LOG' },
        { names: ['mmap'], action: 'SCMP_ACT_NOTIFY' },
        { names: ['tuxcall'], action: 'SCMP_ACT_KILL_THREAD' },
      ],
    });
    expect(ask(program, 'read')).toBe(ALLOW);
    expect(ask(program, 'write')).toBe(errno(13));
    expect(ask(program, 'open')).toBe(0);
    expect(ask(program, 'close')).toBe(KILL_PROCESS);
    expect(ask(program, 'stat')).toBe(0x0003_0000);
    expect(ask(program, 'poll')).toBe(0x7ff0_0007);
    expect(ask(program, 'lseek')).toBe(0x7ffc_0000);
    expect(ask(program, 'mmap')).toBe(0x7fc0_0000);
    expect(ask(program, 'tuxcall')).toBe(0);
    expect(ask(program, 'fork')).toBe(errno(95));
  });

  test('kills programs of an architecture that is not named, and serves those that are', () => {
    const profile: LinuxSeccomp = {
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }],
    };
    const alone = compile(profile);
    for (const other of ['SCMP_ARCH_X86', 'SCMP_ARCH_X32', 'SCMP_ARCH_AARCH64'] as const) {
      expect(ask(alone, 'read', [], other)).toBe(KILL_PROCESS);
    }
    const all = compile({ ...profile, architectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32', 'SCMP_ARCH_MIPS'] });
    expect(ask(all, 'read', [], 'SCMP_ARCH_X86')).toBe(ALLOW);
    expect(ask(all, 'read', [], 'SCMP_ARCH_X32')).toBe(ALLOW);
    expect(ask(all, 'write', [], 'SCMP_ARCH_X86')).toBe(ask(all, 'write'));
    expect(ask(all, 'read', [], 'SCMP_ARCH_AARCH64')).toBe(KILL_PROCESS);
    // the same number means another call there: read is 3 on i386, close is 3 on x86-64
    expect(askNumber(all, 3)).not.toBe(ALLOW);
  });

  test('answers ENOSYS for calls newer than the profile, unless its default lets calls through', () => {
    const rules: Rule[] = [{ names: ['openat2'], action: 'SCMP_ACT_ALLOW' }];
    const strict = compile({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: rules });
    expect(ask(strict, 'openat2')).toBe(ALLOW);
    expect(ask(strict, 'pidfd_getfd')).toBe(ENOSYS);
    expect(ask(strict, 'statx')).toBe(EPERM);
    expect(askNumber(strict, 100_000)).toBe(ENOSYS);
    const log = compile({ defaultAction: 'SCMP_ACT_LOG', syscalls: rules });
    expect(askNumber(log, 100_000)).toBe(0x7ffc_0000);
  });

  test('lets a tracer skip a call', () => {
    expect(askNumber(allowing({ names: ['read'], action: 'SCMP_ACT_ALLOW' }), 0xffff_ffff)).toBe(ENOSYS);
  });

  test.each<[Condition['op'], number[], number[]]>([
    ['SCMP_CMP_EQ', [5], [4, 6, 2 ** 32 + 5]],
    ['SCMP_CMP_NE', [4, 2 ** 32 + 5], [5]],
    ['SCMP_CMP_LT', [0, 4], [5, 6, 2 ** 32]],
    ['SCMP_CMP_LE', [0, 5], [6, 2 ** 32]],
    ['SCMP_CMP_GT', [6, 2 ** 32, 2 ** 32 + 5], [5, 0]],
    ['SCMP_CMP_GE', [5, 6, 2 ** 32], [4, 0]],
  ])('compares all 64 bits of an argument with %s', (op, matching, others) => {
    const program = allowing({
      names: ['read'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 2, value: 5, op }],
    });
    for (const value of matching) expect(ask(program, 'read', [0, 0, value])).toBe(ALLOW);
    for (const value of others) expect(ask(program, 'read', [0, 0, value])).toBe(EPERM);
  });

  test('compares under a mask', () => {
    const args: Condition[] = [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 0xf0, valueTwo: 0x50 }];
    const program = allowing({ names: ['read'], action: 'SCMP_ACT_ALLOW', args });
    expect(ask(program, 'read', [0x5a])).toBe(ALLOW);
    expect(ask(program, 'read', [2 ** 40 + 0x50])).toBe(ALLOW);
    expect(ask(program, 'read', [0x60])).toBe(EPERM);
  });

  test('wants all conditions of a rule, but each alone where two are about one argument', () => {
    const both: Condition[] = [
      { index: 0, op: 'SCMP_CMP_EQ', value: 1 },
      { index: 1, op: 'SCMP_CMP_EQ', value: 2 },
    ];
    const and = allowing({ names: ['read'], action: 'SCMP_ACT_ALLOW', args: both });
    expect(ask(and, 'read', [1, 2])).toBe(ALLOW);
    expect(ask(and, 'read', [1, 3])).toBe(EPERM);
    const or = allowing({
      names: ['read'],
      action: 'SCMP_ACT_ALLOW',
      args: [...both, { index: 0, op: 'SCMP_CMP_EQ', value: 9 }],
    });
    expect(ask(or, 'read', [1, 3])).toBe(ALLOW);
    expect(ask(or, 'read', [7, 2])).toBe(ALLOW);
    expect(ask(or, 'read', [9, 3])).toBe(ALLOW);
    expect(ask(or, 'read', [7, 3])).toBe(EPERM);
  });

  test('holds rules about socket calls also for the i386 multiplexer', () => {
    const program = compile({
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: ['SCMP_ARCH_X86'],
      syscalls: [
        { names: ['socket', 'shmget'], action: 'SCMP_ACT_ERRNO' },
        { names: ['bind'], action: 'SCMP_ACT_ERRNO', args: [{ index: 0, op: 'SCMP_CMP_EQ', value: 1 }] },
      ],
    });
    expect(ask(program, 'socketcall', [1], 'SCMP_ARCH_X86')).toBe(EPERM);
    expect(ask(program, 'socketcall', [2], 'SCMP_ARCH_X86')).toBe(ALLOW);
    expect(ask(program, 'ipc', [0x1_0017], 'SCMP_ARCH_X86')).toBe(EPERM);
    expect(ask(program, 'ipc', [0x1_0015], 'SCMP_ARCH_X86')).toBe(ALLOW);
  });

  test('is refused, with the field, where the profile contradicts itself', () => {
    const cases: [LinuxSeccomp, string][] = [
      [{ defaultAction: 'SCMP_ACT_NOTIFY' }, 'linux.seccomp.defaultAction'],
      [{ defaultAction: 'SCMP_ACT_ALLOW', defaultErrnoRet: 5 }, 'linux.seccomp.defaultErrnoRet'],
      [
        {
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [{ names: ['a'], action: 'SCMP_ACT_KILL', errnoRet: 5 }],
        },
        'linux.seccomp.syscalls[0].errnoRet',
      ],
    ];
    for (const [profile, field] of cases) {
      expect(() => compile(profile)).toThrowError(expect.objectContaining({ code: 'INVALID_SPEC', field }));
    }
    expect(() => compile({ defaultAction: 'SCMP_ACT_ALLOW' }, 'mips')).toThrowError(
      expect.objectContaining({ code: 'UNSUPPORTED' }),
    );
  });

  test('knows the flags of seccomp(2)', () => {
    expect(seccompFlags({ defaultAction: 'SCMP_ACT_ALLOW' })).toBe(0);
    const asked: LinuxSeccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      flags: [
        'SECCOMP_FILTER_FLAG_LOG',
        'SECCOMP_FILTER_FLAG_TSYNC',
        'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV',
      ],
    };
    // the last one is about notifications alone, which make it a listener's and take TSYNC away
    expect(seccompFlags(asked)).toBe(1 | 2);
    const syscalls = [{ names: ['mkdir'], action: 'SCMP_ACT_NOTIFY' as const }];
    expect(seccompFlags({ ...asked, syscalls })).toBe(2 | 8 | 32);
  });
});

/** The rules of the package's documentation, read one after another for one call. */
function naive(profile: LinuxSeccomp, name: string, args: readonly bigint[]): number {
  const action = (name: Rule['action'], errnoRet = 1): number =>
    name === 'SCMP_ACT_ERRNO' ? errno(errnoRet) : name === 'SCMP_ACT_ALLOW' ? ALLOW : KILL_PROCESS;
  const fallback = action(profile.defaultAction, profile.defaultErrnoRet);
  const holds = ({ index, op, value, valueTwo }: Condition): boolean => {
    const argument = args[index]!;
    const wanted = BigInt(value);
    switch (op) {
      case 'SCMP_CMP_EQ':
        return argument === wanted;
      case 'SCMP_CMP_NE':
        return argument !== wanted;
      case 'SCMP_CMP_LT':
        return argument < wanted;
      case 'SCMP_CMP_LE':
        return argument <= wanted;
      case 'SCMP_CMP_GT':
        return argument > wanted;
      case 'SCMP_CMP_GE':
        return argument >= wanted;
      case 'SCMP_CMP_MASKED_EQ':
        return (argument & wanted) === (BigInt(valueTwo ?? 0) & wanted);
    }
  };
  const rules = (profile.syscalls ?? [])
    .filter(({ names }) => names.includes(name))
    .map((rule) => ({ ...rule, result: action(rule.action, rule.errnoRet), args: rule.args ?? [] }))
    .filter(({ result }) => result !== fallback);
  const always = rules.find((rule) => rule.args.length === 0);
  if (always) return always.result;
  const first = rules.find(({ args }) => {
    const repeated = new Set(args.map(({ index }) => index)).size < args.length;
    return repeated ? args.some(holds) : args.every(holds);
  });
  if (first) return first.result;
  const numbers = syscallNumbers(NATIVE);
  const newest = Math.max(
    ...(profile.syscalls ?? []).flatMap(({ names }) => names.map((n) => numbers.get(n) ?? -1)),
  );
  const unknown = newest >= 0 && numbers.get(name)! > newest && profile.defaultAction !== 'SCMP_ACT_ALLOW';
  return unknown ? ENOSYS : fallback;
}

describe('any profile', () => {
  const names = [...syscallNumbers(NATIVE).keys()];
  const name = fc.constantFrom(...names);
  // small numbers, and numbers around the seam of the two words
  const value = fc.oneof(
    fc.nat(8),
    fc.constantFrom(2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 33 + 5, 0x7e02_0000, 2 ** 52 + 3),
  );
  const condition = fc.record({
    index: fc.nat(5),
    value,
    valueTwo: value,
    op: fc.constantFrom(...SECCOMP_OPERATORS),
  });
  const rule = fc.record({
    names: fc.array(name, { minLength: 1, maxLength: 40 }),
    action: fc.constantFrom<Rule['action']>('SCMP_ACT_ALLOW', 'SCMP_ACT_ERRNO', 'SCMP_ACT_KILL_PROCESS'),
    args: fc.array(condition, { maxLength: 3 }),
  });
  const profile = fc.record({
    defaultAction: fc.constantFrom<Rule['action']>(
      'SCMP_ACT_ALLOW',
      'SCMP_ACT_ERRNO',
      'SCMP_ACT_KILL_PROCESS',
    ),
    syscalls: fc.array(rule, { maxLength: 12 }),
  });

  test('means what its rules say, for every call and argument', () => {
    fc.assert(
      fc.property(profile, fc.array(value, { minLength: 6, maxLength: 6 }), (profile, args) => {
        const program = compile(profile);
        const wide = args.map(BigInt);
        for (const name of names)
          expect([name, ask(program, name, wide)]).toEqual([name, naive(profile, name, wide)]);
      }),
      { numRuns: 150 },
    );
  });
});

describe('the default profile', () => {
  const machine = (capabilities: string[]): Uint8Array =>
    compile(defaultSeccompProfile({ capabilities, arch: 'x64' }));
  const plain = machine([]);
  const admin = machine(['CAP_SYS_ADMIN']);

  test('allows what ordinary programs do, on every architecture of the machine', () => {
    for (const name of [
      'read',
      'execve',
      'openat2',
      'futex_waitv',
      'landlock_create_ruleset',
      'name_to_handle_at',
    ]) {
      expect(ask(plain, name)).toBe(ALLOW);
      expect(ask(plain, name, [], 'SCMP_ARCH_X86')).toBe(ALLOW);
      expect(ask(plain, name, [], 'SCMP_ARCH_X32')).toBe(ALLOW);
    }
    const arm = compile(defaultSeccompProfile({ arch: 'arm64' }), 'arm64');
    expect(ask(arm, 'openat', [], 'SCMP_ARCH_AARCH64')).toBe(ALLOW);
    expect(ask(arm, 'set_tls', [], 'SCMP_ARCH_ARM')).toBe(ALLOW);
    expect(ask(arm, 'mount', [], 'SCMP_ARCH_AARCH64')).toBe(EPERM);
    expect(ask(arm, 'read', [], 'SCMP_ARCH_X86_64')).toBe(KILL_PROCESS);
  });

  test('denies what reaches beyond a container, whatever the capabilities', () => {
    for (const name of [
      'io_uring_setup',
      'keyctl',
      'add_key',
      'userfaultfd',
      'pivot_root',
      'kexec_load',
      'swapon',
    ]) {
      expect(ask(plain, name)).toBe(EPERM);
      expect(ask(admin, name)).toBe(EPERM);
    }
  });

  test('brings calls back with the capability that they are about', () => {
    for (const [capability, name] of [
      ['CAP_SYS_ADMIN', 'mount'],
      ['CAP_SYS_CHROOT', 'chroot'],
      ['CAP_SYS_TIME', 'settimeofday'],
      ['CAP_SYS_BOOT', 'reboot'],
      ['CAP_BPF', 'bpf'],
      ['CAP_DAC_READ_SEARCH', 'open_by_handle_at'],
    ] as const) {
      expect(ask(plain, name)).toBe(EPERM);
      expect(ask(machine([capability]), name)).toBe(ALLOW);
    }
  });

  test('lets threads and processes be made, but no namespaces', () => {
    expect(ask(plain, 'clone', [0x3d0f00])).toBe(ALLOW);
    for (const flag of [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]) {
      expect(ask(plain, 'clone', [0x11 | flag])).toBe(EPERM);
      expect(ask(admin, 'clone', [0x11 | flag])).toBe(ALLOW);
    }
    expect(ask(plain, 'clone3')).toBe(ENOSYS);
    expect(ask(admin, 'clone3')).toBe(ALLOW);
  });

  test('allows sockets of every family but kernel crypto and virtual machines, also with dirt in the high word', () => {
    for (const family of [1, 2, 10, 16, 17, 37, 39, 41, 45])
      expect(ask(plain, 'socket', [family])).toBe(ALLOW);
    for (const family of [38, 40, 2 ** 32 + 40, 2 ** 32 + 38])
      expect(ask(plain, 'socket', [family])).toBe(EPERM);
  });

  test('allows the harmless personalities', () => {
    for (const value of [0, 8, 0x20000, 0x20008, 0xffff_ffff])
      expect(ask(plain, 'personality', [value])).toBe(ALLOW);
    expect(ask(plain, 'personality', [0x400000])).toBe(EPERM);
  });

  test('is small: a few hundred instructions', () => {
    expect(plain.length / 8).toBeLessThan(600);
  });
});
