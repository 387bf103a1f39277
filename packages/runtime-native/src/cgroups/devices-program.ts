/**
 * The device rules of the runtime spec as a BPF program of type BPF_PROG_TYPE_CGROUP_DEVICE: version 2 has no files for
 * them.
 *
 * The kernel runs the program at each mknod and open of a device. Of the rules that fit the device, the last one decides
 * about each kind of access on its own, as in version 1; what no rule decides is denied.
 */
import type { LinuxResources } from '../spec/index.ts';

type DeviceRule = NonNullable<LinuxResources['devices']>[number];

// <linux/bpf.h>: kinds of devices and of access in struct bpf_cgroup_dev_ctx
const DEVICE_TYPE = { b: 1, c: 2 } as const;
const ACCESS = { m: 1, r: 2, w: 4 } as const;

// eBPF operation codes
const LOAD_WORD = 0x61;
const MOVE = 0xbc; // 32-bit, register
const MOVE_IMMEDIATE = 0xb7;
const AND_IMMEDIATE = 0x54; // 32-bit
const SHIFT_RIGHT = 0x74; // 32-bit
const JUMP_NOT_EQUAL = 0x55;
const JUMP_BITS_SET = 0x45;
const JUMP = 0x05;
const EXIT = 0x95;

// Registers: 0 result, 1 context, 2 type, 3 accesses not decided yet, 4 major, 5 minor
const RESULT = 0;
const CONTEXT = 1;
const TYPE = 2;
const PENDING = 3;
const MAJOR = 4;
const MINOR = 5;

/** Instructions of 8 bytes each, for bpf(2) BPF_PROG_LOAD. */
export function compileDeviceRules(rules: readonly DeviceRule[]): Uint8Array {
  const code = new Code();
  code.add(LOAD_WORD, TYPE, CONTEXT, 0);
  code.add(MOVE, PENDING, TYPE);
  code.add(AND_IMMEDIATE, TYPE, 0, 0, 0xffff);
  code.add(SHIFT_RIGHT, PENDING, 0, 0, 16);
  code.add(LOAD_WORD, MAJOR, CONTEXT, 4);
  code.add(LOAD_WORD, MINOR, CONTEXT, 8);
  // last rule first: it has the last word
  for (const rule of [...rules].reverse()) {
    addRule(code, rule);
    if (decidesAll(rule)) return code.finish(rule.allow ? 1 : 0);
  }
  return code.finish(0);
}

function decidesAll(rule: DeviceRule): boolean {
  return rule.type === undefined || rule.type === 'a';
}

function addRule(code: Code, rule: DeviceRule): void {
  // as in version 1, a rule for all types is for all numbers and accesses too: it ends the program
  if (decidesAll(rule)) return;
  const conditions: [register: number, value: number][] = [[TYPE, DEVICE_TYPE[rule.type as 'b' | 'c']]];
  if (rule.major !== undefined && rule.major >= 0) conditions.push([MAJOR, rule.major]);
  if (rule.minor !== undefined && rule.minor >= 0) conditions.push([MINOR, rule.minor]);
  let access = 0;
  for (const letter of rule.access || 'rwm') access |= ACCESS[letter as keyof typeof ACCESS];

  // a mismatch jumps over the rest of the rule: the conditions after it and the four instructions of its verdict
  conditions.forEach(([register, value], index) => {
    code.add(JUMP_NOT_EQUAL, register, 0, conditions.length - index - 1 + 4, value);
  });
  if (rule.allow) {
    // these accesses are settled; allowed when nothing is left
    code.add(AND_IMMEDIATE, PENDING, 0, 0, ~access & 7);
    code.add(JUMP_NOT_EQUAL, PENDING, 0, 2, 0);
    code.add(MOVE_IMMEDIATE, RESULT, 0, 0, 1);
    code.add(EXIT);
  } else {
    // one denied access denies the whole request
    code.add(JUMP_BITS_SET, PENDING, 0, 1, access);
    code.add(JUMP, 0, 0, 2);
    code.add(MOVE_IMMEDIATE, RESULT, 0, 0, 0);
    code.add(EXIT);
  }
}

class Code {
  readonly #instructions: number[][] = [];

  add(operation: number, destination = 0, source = 0, offset = 0, immediate = 0): void {
    this.#instructions.push([operation, destination | (source << 4), offset, immediate]);
  }

  finish(result: number): Uint8Array {
    this.add(MOVE_IMMEDIATE, RESULT, 0, 0, result);
    this.add(EXIT);
    const bytes = new Uint8Array(this.#instructions.length * 8);
    const view = new DataView(bytes.buffer);
    // host order: every platform we support is little-endian
    this.#instructions.forEach(([operation, registers, offset, immediate], index) => {
      view.setUint8(index * 8, operation!);
      view.setUint8(index * 8 + 1, registers!);
      view.setInt16(index * 8 + 2, offset!, true);
      view.setInt32(index * 8 + 4, immediate!, true);
    });
    return bytes;
  }
}
