/**
 * Seccomp profiles of the runtime spec as programs for the kernel, by a compiler of our own: no libseccomp.
 *
 * The program looks at the architecture, then finds the system call in a balanced tree of number ranges that end the
 * same way (some eight comparisons for Docker's profile), then compares arguments where rules have them.
 *
 * What the spec leaves open is as runc with libseccomp has it:
 * - A rule without conditions beats those with conditions for the same call; of several, the first one counts. Among
 *   rules with conditions the first that fits counts. A rule that says what the default says is no rule.
 * - Several conditions of one rule must all hold; but when two of them are about the same argument, each stands alone.
 * - Calls newer than the newest one that the profile names fail with ENOSYS in place of the default action's error, so
 *   that C libraries fall back to older calls. Names that no table knows are left out.
 */
import { RuntimeError } from '../errors.ts';
import type { LinuxSeccomp } from '../spec/index.ts';
import { AUDIT_ARCHITECTURE, X32_BIT, architecturesOf, syscallNumbers } from './architectures.ts';
import type { SeccompArchitecture } from './architectures.ts';
import { BackwardAssembler, MAX_INSTRUCTIONS } from './assembler.ts';
import type { Address } from './assembler.ts';
import { multiplexed } from './multiplexed.ts';

type Rule = NonNullable<LinuxSeccomp['syscalls']>[number];
type Condition = NonNullable<Rule['args']>[number];

/** How one system call ends: an action, or rules to try in order before the default. */
type Verdict = number | readonly ConditionalRule[];

interface ConditionalRule {
  conditions: readonly Condition[];
  action: number;
}

/** All system calls from `first` up to the next range. */
interface Range {
  first: number;
  verdict: Verdict;
}

const EPERM = 1;
const ENOSYS = 38;
const RETURN_ERRNO = 0x0005_0000;
/** SECCOMP_RET_* of `<linux/seccomp.h>`. */
const ACTIONS: Readonly<Record<LinuxSeccomp['defaultAction'], number>> = {
  SCMP_ACT_KILL: 0x0000_0000,
  SCMP_ACT_KILL_THREAD: 0x0000_0000,
  SCMP_ACT_KILL_PROCESS: 0x8000_0000,
  SCMP_ACT_TRAP: 0x0003_0000,
  SCMP_ACT_ERRNO: RETURN_ERRNO,
  SCMP_ACT_TRACE: 0x7ff0_0000,
  SCMP_ACT_LOG: 0x7ffc_0000,
  SCMP_ACT_ALLOW: 0x7fff_0000,
  SCMP_ACT_NOTIFY: 0x7fc0_0000,
};
/** Actions that carry a number: an errno, or a message to the tracer. */
const WITH_ERRNO = new Set<string>(['SCMP_ACT_ERRNO', 'SCMP_ACT_TRACE']);
/** A default that lets calls through: unknown ones are then the kernel's to refuse. */
const PERMISSIVE = new Set<string>(['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_TRACE']);

/** Bits of seccomp(2)'s `flags`. */
const FLAGS = {
  SECCOMP_FILTER_FLAG_TSYNC: 1,
  SECCOMP_FILTER_FLAG_LOG: 2,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 4,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: 32,
} as const;

/** SECCOMP_FILTER_FLAG_NEW_LISTENER: not a profile's to ask for. */
const NEW_LISTENER = 8;

/** Flags of filters that can be asked for. */
export const SECCOMP_FLAGS: readonly string[] = Object.keys(FLAGS);

// struct seccomp_data
const NUMBER_OFFSET = 0;
const ARCHITECTURE_OFFSET = 4;
const ARGUMENTS_OFFSET = 16;

/** Numbers from here on are not part of the common sequence: ARM's own calls. */
const FIRST_PRIVATE = 0xf_0000;

/** A tracer skips a call by making its number -1. */
const NO_CALL = 0xffff_ffff;

/** Options of {@link compileSeccomp}. */
export interface CompileSeccompOptions {
  /** The machine, as `process.arch` has it. Default: this one. */
  arch?: string;
}

/**
 * Compiles a profile into classic BPF, 8 bytes an instruction. Programs of architectures that the profile does not name
 * (the machine's own is always included) are killed at their first system call.
 *
 * @throws {RuntimeError} `INVALID_SPEC` with the field, `UNSUPPORTED` on a machine that is neither x86-64 nor arm64
 */
export function compileSeccomp(seccomp: LinuxSeccomp, options: CompileSeccompOptions = {}): Uint8Array {
  const family = architecturesOf(options.arch ?? process.arch);
  const included = family.filter((name, index) => index === 0 || seccomp.architectures?.includes(name));
  const fallback = actionOf(seccomp.defaultAction, seccomp.defaultErrnoRet, 'linux.seccomp.defaultErrnoRet');
  if (seccomp.defaultAction === 'SCMP_ACT_NOTIFY') {
    throw invalid(
      'linux.seccomp.defaultAction',
      'SCMP_ACT_NOTIFY cannot be the default: nothing could start',
    );
  }

  const code = new BackwardAssembler();
  const kill = code.return(ACTIONS.SCMP_ACT_KILL_PROCESS);
  let entry = kill;
  // last first, so that the machine's own architecture is tried first
  for (const name of family.toReversed()) {
    if (!included.includes(name) || name === 'SCMP_ARCH_X32') continue;
    let section = dispatch(code, rangesOf(seccomp, name, fallback), fallback);
    if (name === 'SCMP_ARCH_X86_64') {
      const x32 = included.includes('SCMP_ARCH_X32')
        ? dispatch(code, rangesOf(seccomp, 'SCMP_ARCH_X32', fallback), fallback)
        : kill;
      const skipped = code.return(PERMISSIVE.has(seccomp.defaultAction) ? fallback : RETURN_ERRNO | ENOSYS);
      section = code.branch('ge', X32_BIT, code.branch('eq', NO_CALL, skipped, x32), section);
    }
    section = code.load(NUMBER_OFFSET, section);
    entry = code.branch('eq', AUDIT_ARCHITECTURE[name], section, entry);
  }
  code.load(ARCHITECTURE_OFFSET, entry);
  const program = code.finish();
  if (program.length > MAX_INSTRUCTIONS * 8) {
    throw invalid(
      'linux.seccomp.syscalls',
      `the profile is too large: ${program.length / 8} instructions, the kernel takes ${MAX_INSTRUCTIONS}`,
    );
  }
  return program;
}

/**
 * The bits for seccomp(2) that a profile asks for. With notifications there is a listener, and no TSYNC, which cannot go
 * with one and has nothing to do in a process of one thread; WAIT_KILLABLE_RECV is about notifications alone.
 */
export function seccompFlags(seccomp: LinuxSeccomp): number {
  const asked = (seccomp.flags ?? []).reduce((bits, flag) => bits | FLAGS[flag], 0);
  return notifies(seccomp)
    ? (asked & ~FLAGS.SECCOMP_FILTER_FLAG_TSYNC) | NEW_LISTENER
    : asked & ~FLAGS.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
}

/** Whether programs of this machine may make all these calls, whatever their arguments. Calls it has not are none. */
export function allowsAll(seccomp: LinuxSeccomp, names: readonly string[], arch = process.arch): boolean {
  const [native] = architecturesOf(arch);
  const numbers = syscallNumbers(native!);
  const fallback = actionOf(seccomp.defaultAction, seccomp.defaultErrnoRet, 'linux.seccomp.defaultErrnoRet');
  const ranges = rangesOf(seccomp, native!, fallback);
  return names
    .map((name) => numbers.get(name))
    .every((number) => {
      if (number === undefined) return true;
      return ranges.findLast(({ first }) => first <= number)?.verdict === ACTIONS.SCMP_ACT_ALLOW;
    });
}

/** Whether a rule asks an agent. */
export function notifies({ syscalls = [] }: LinuxSeccomp): boolean {
  return syscalls.some(({ action }) => action === 'SCMP_ACT_NOTIFY');
}

function actionOf(action: LinuxSeccomp['defaultAction'], errno: number | undefined, field: string): number {
  if (WITH_ERRNO.has(action)) return ACTIONS[action] | (errno ?? EPERM);
  if (errno !== undefined) throw invalid(field, `${action} does not return an error number`);
  return ACTIONS[action];
}

/** How every number of an architecture ends, as few ranges as can be. The first one starts at 0 (or the x32 bit). */
function rangesOf(seccomp: LinuxSeccomp, architecture: SeccompArchitecture, fallback: number): Range[] {
  const bit = architecture === 'SCMP_ARCH_X32' ? X32_BIT : 0;
  const { verdicts, newest } = verdictsOf(seccomp, architecture, fallback);
  const ranges: Range[] = [];
  const add = (first: number, verdict: Verdict): void => {
    if (ranges.at(-1)?.first === first) ranges.pop();
    if (ranges.at(-1)?.verdict !== verdict) ranges.push({ first, verdict });
  };
  const sorted = [...verdicts.keys()].sort((a, b) => a - b);
  const unknown = PERMISSIVE.has(seccomp.defaultAction) ? fallback : RETURN_ERRNO | ENOSYS;
  const known = (number: number): boolean => newest === undefined || number <= newest;
  const addNumber = (number: number, between: number): void => {
    add(number + bit, verdicts.get(number)!);
    add(number + 1 + bit, between);
  };
  add(bit, fallback);
  for (const number of sorted) if (known(number)) addNumber(number, fallback);
  if (newest !== undefined) add(newest + 1 + bit, unknown);
  for (const number of sorted) if (!known(number)) addNumber(number, unknown);
  return ranges;
}

function verdictsOf(
  seccomp: LinuxSeccomp,
  architecture: SeccompArchitecture,
  fallback: number,
): { verdicts: Map<number, Verdict>; newest: number | undefined } {
  const numbers = syscallNumbers(architecture);
  const always = new Map<number, number>();
  const conditional = new Map<number, ConditionalRule[]>();
  let newest: number | undefined;
  seccomp.syscalls?.forEach((rule, index) => {
    const field = `linux.seccomp.syscalls[${index}]`;
    const action = actionOf(rule.action, rule.errnoRet, `${field}.errnoRet`);
    const alternatives = conditionsOf(rule);
    for (const name of rule.names) {
      const number = numbers.get(name);
      if (number !== undefined && number < FIRST_PRIVATE) newest = Math.max(newest ?? 0, number);
      if (action === fallback) continue;
      if (number !== undefined) {
        if (alternatives.length === 0) always.set(number, always.get(number) ?? action);
        for (const conditions of alternatives) append(conditional, number, { conditions, action });
      }
      // behind a pointer, arguments cannot be compared
      const inner = alternatives.length === 0 ? multiplexed(architecture, name) : undefined;
      if (inner) append(conditional, numbers.get(inner.call)!, { conditions: [inner.condition], action });
    }
  });
  return { verdicts: new Map<number, Verdict>([...conditional, ...always]), newest };
}

/** The alternatives of a rule, each a list of conditions that must all hold; none for a rule without conditions. */
function conditionsOf(rule: Rule): readonly (readonly Condition[])[] {
  const args = rule.args ?? [];
  if (args.length === 0) return [];
  const repeated = new Set(args.map(({ index }) => index)).size < args.length;
  return repeated ? args.map((condition) => [condition]) : [args];
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

/** A binary search for the accumulator among the ranges. */
function dispatch(code: BackwardAssembler, ranges: readonly Range[], fallback: number): Address {
  if (ranges.length === 1) return verdict(code, ranges[0]!.verdict, fallback);
  const middle = ranges.length >> 1;
  const above = dispatch(code, ranges.slice(middle), fallback);
  const below = dispatch(code, ranges.slice(0, middle), fallback);
  return code.branch('ge', ranges[middle]!.first, above, below);
}

function verdict(code: BackwardAssembler, verdict: Verdict, fallback: number): Address {
  if (typeof verdict === 'number') return code.return(verdict);
  let next = code.return(fallback);
  for (const { conditions, action } of verdict.toReversed()) {
    let match = code.return(action);
    for (const condition of conditions.toReversed()) match = compare(code, condition, match, next);
    next = match;
  }
  return next;
}

/** Compares a 64-bit argument, its high word first. */
function compare(code: BackwardAssembler, condition: Condition, match: Address, miss: Address): Address {
  const { index, op } = condition;
  const offset = ARGUMENTS_OFFSET + 8 * index;
  const value = words(condition.value);
  const low = (test: 'eq' | 'gt' | 'ge', yes: Address, no: Address): Address =>
    code.load(offset, code.branch(test, value.low, yes, no));
  const high = (test: Address): Address => code.load(offset + 4, test);
  const equal = (yes: Address, no: Address): Address =>
    high(code.branch('eq', value.high, low('eq', yes, no), no));
  const above = (test: 'gt' | 'ge', yes: Address, no: Address): Address => {
    const same = code.branch('eq', value.high, low(test, yes, no), no);
    return high(code.branch('gt', value.high, yes, same));
  };
  switch (op) {
    case 'SCMP_CMP_EQ':
      return equal(match, miss);
    case 'SCMP_CMP_NE':
      return equal(miss, match);
    case 'SCMP_CMP_GT':
      return above('gt', match, miss);
    case 'SCMP_CMP_GE':
      return above('ge', match, miss);
    case 'SCMP_CMP_LT':
      return above('ge', miss, match);
    case 'SCMP_CMP_LE':
      return above('gt', miss, match);
    case 'SCMP_CMP_MASKED_EQ': {
      const wanted = words(condition.valueTwo ?? 0);
      const part = (at: number, mask: number, bits: number, yes: Address): Address =>
        mask === 0 ? yes : code.load(at, code.and(mask, code.branch('eq', (bits & mask) >>> 0, yes, miss)));
      return part(offset + 4, value.high, wanted.high, part(offset, value.low, wanted.low, match));
    }
  }
}

function words(value: number): { high: number; low: number } {
  const wide = BigInt(value);
  return { high: Number((wide >> 32n) & 0xffff_ffffn), low: Number(wide & 0xffff_ffffn) };
}

function invalid(field: string, message: string): RuntimeError {
  return new RuntimeError('INVALID_SPEC', `${field}: ${message}`, { field });
}
