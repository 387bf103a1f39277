import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { architecturesOf, syscallNumbers } from '../../src/seccomp/architectures.ts';
import { compileSeccomp, defaultSeccompProfile } from '../../src/seccomp.ts';
import type { LinuxSeccomp } from '../../src/spec/index.ts';

const reason =
  process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)
    ? 'needs Linux on x86-64 or arm64'
    : spawnSync('cc', ['--version']).status !== 0
      ? 'needs a C compiler'
      : undefined;
if (reason) console.warn(`skipped: filters in the kernel (${reason})`);

const SIGSYS = 31;
const DENIED = 'errno 1';

describe.skipIf(reason)(`a filter in the kernel${reason ? ` (${reason})` : ''}`, () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'tare-seccomp-'));
    execFileSync('cc', ['-O1', '-o', join(folder, 'probe'), join(import.meta.dirname, 'probe.c')]);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** How each call ends under the profile. A call is a name, `i386:name`, or a number, and arguments. */
  function probe(profile: LinuxSeccomp, ...calls: [string | number, ...(number | bigint)[]][]): string[] {
    const filter = join(folder, 'filter');
    writeFileSync(filter, compileSeccomp(profile));
    const native = syscallNumbers(architecturesOf(process.arch)[0]!);
    const words = calls.map(([name, ...args]) => {
      const narrow = String(name).startsWith('i386:');
      const number =
        typeof name === 'number'
          ? name
          : narrow
            ? syscallNumbers('SCMP_ARCH_X86').get(name.slice('i386:'.length))
            : native.get(name);
      return `${narrow ? 'i' : ''}${[number, ...args].join(',')}`;
    });
    return execFileSync(join(folder, 'probe'), [filter, ...words], { encoding: 'utf8' })
      .trim()
      .split('\n');
  }

  test('is accepted, and stops what the default profile stops', () => {
    expect(
      probe(
        defaultSeccompProfile(),
        ['getppid'],
        ['mount'],
        ['unshare', 0x2000_0000],
        ['keyctl', 0, 0],
        ['io_uring_setup', 1, 0],
        ['clone3', 0, 0],
        ['socket', 1, 1, 0],
        ['socket', 40, 1, 0],
        ['socket', (1n << 32n) | 40n, 1, 0],
        ['socket', 38, 5, 0],
        ['personality', 0xffff_ffff],
        ['personality', 0x40_0000],
        [100_000],
      ),
    ).toEqual([
      'errno 0',
      DENIED,
      DENIED,
      DENIED,
      DENIED,
      'errno 38',
      'errno 0',
      DENIED,
      DENIED,
      DENIED,
      'errno 0',
      DENIED,
      'errno 38',
    ]);
  });

  test('lets through what the capabilities bring back', () => {
    // past the filter the kernel finds the arguments wanting
    const [clone, mount] = probe(
      defaultSeccompProfile({ capabilities: ['CAP_SYS_ADMIN'] }),
      ['clone3', 0, 0],
      ['mount'],
    );
    expect(clone).toBe('errno 22');
    expect(mount).not.toBe(DENIED);
  });

  test('has the actions act', () => {
    const profile: LinuxSeccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [
        { names: ['getppid'], action: 'SCMP_ACT_ERRNO', errnoRet: 77 },
        { names: ['getuid'], action: 'SCMP_ACT_KILL_PROCESS' },
        { names: ['geteuid'], action: 'SCMP_ACT_TRAP' },
        { names: ['getgid'], action: 'SCMP_ACT_LOG' },
        // nobody traces
        { names: ['getegid'], action: 'SCMP_ACT_TRACE' },
      ],
    };
    expect(probe(profile, ['getppid'], ['getuid'], ['geteuid'], ['getgid'], ['getegid'])).toEqual([
      'errno 77',
      `signal ${SIGSYS}`,
      `signal ${SIGSYS}`,
      'errno 0',
      'errno 38',
    ]);
  });

  test.runIf(process.arch === 'x64')('holds for 32-bit calls of the same process', () => {
    const profile = defaultSeccompProfile();
    // a kernel without 32-bit support kills the process or does not answer the call
    const [supported] = probe({ defaultAction: 'SCMP_ACT_ALLOW', architectures: ['SCMP_ARCH_X86'] }, [
      'i386:getppid',
    ]);
    if (supported !== 'errno 0') return;
    expect(probe(profile, ['i386:getppid'], ['i386:mount'], ['i386:clone3'])).toEqual([
      'errno 0',
      DENIED,
      'errno 38',
    ]);
    expect(probe({ ...profile, architectures: [] }, ['getppid'], ['i386:getppid'])).toEqual([
      'errno 0',
      `signal ${SIGSYS}`,
    ]);
  });

  test.runIf(process.arch === 'x64')('kills x32 calls unless the profile names x32', () => {
    const getppid = 0x4000_0000 | syscallNumbers('SCMP_ARCH_X32').get('getppid')!;
    const without: LinuxSeccomp = { ...defaultSeccompProfile(), architectures: ['SCMP_ARCH_X86_64'] };
    expect(probe(without, [getppid])).toEqual([`signal ${SIGSYS}`]);
  });
});
