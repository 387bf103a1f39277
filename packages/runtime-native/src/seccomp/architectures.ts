/** Architectures as seccomp sees them, and the numbers of their system calls. */
import { RuntimeError } from '../errors.ts';
import { SYSCALL_TABLE } from './syscall-table.ts';

/** Architectures that filters can be compiled for, by their names in the runtime spec. */
export type SeccompArchitecture = keyof typeof SYSCALL_TABLE;

/** x32 calls carry the architecture of x86-64 and this bit in their number. */
export const X32_BIT = 0x4000_0000;

/** `AUDIT_ARCH_*` of `<linux/audit.h>`: what `seccomp_data.arch` holds. */
export const AUDIT_ARCHITECTURE: Readonly<Record<SeccompArchitecture, number>> = {
  SCMP_ARCH_X86_64: 0xc000_003e,
  SCMP_ARCH_X32: 0xc000_003e,
  SCMP_ARCH_X86: 0x4000_0003,
  SCMP_ARCH_AARCH64: 0xc000_00b7,
  SCMP_ARCH_ARM: 0x4000_0028,
};

/** What a kernel of each 64-bit architecture can run, itself first. */
const FAMILIES: Readonly<Record<string, readonly SeccompArchitecture[]>> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
};

/**
 * The architectures of programs that run on a machine, its own first.
 *
 * @param arch as `process.arch` has it
 * @throws {RuntimeError} `UNSUPPORTED` for one that filters cannot be compiled for
 */
export function architecturesOf(arch: string): readonly SeccompArchitecture[] {
  const family = FAMILIES[arch];
  if (family) return family;
  throw new RuntimeError(
    'UNSUPPORTED',
    `seccomp filters cannot be compiled for '${arch}', only for ${Object.keys(FAMILIES).join(' and ')}`,
  );
}

const parsed = new Map<SeccompArchitecture, ReadonlyMap<string, number>>();

/** Numbers by name, without {@link X32_BIT}. */
export function syscallNumbers(architecture: SeccompArchitecture): ReadonlyMap<string, number> {
  let numbers = parsed.get(architecture);
  if (!numbers) {
    numbers = parse(SYSCALL_TABLE[architecture]);
    parsed.set(architecture, numbers);
  }
  return numbers;
}

function parse(table: string): ReadonlyMap<string, number> {
  const numbers = new Map<string, number>();
  let next = 0;
  for (const word of table.trim().split(/\s+/)) {
    const [names, first] = word.split(':').toReversed();
    if (first !== undefined) next = Number(first);
    for (const name of names!.split('=')) numbers.set(name, next);
    next += 1;
  }
  return numbers;
}
