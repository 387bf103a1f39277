/**
 * Classic BPF as seccomp runs it (linux/filter.h), written from the end to the start.
 *
 * All jumps of classic BPF go forward, so when the code is written backwards every target exists before the jump to it,
 * and equal endings are shared by themselves.
 */

/** A place in the code: how many instructions stand from it to the end. */
export type Address = number;

/** `struct sock_filter` is 8 bytes. */
const INSTRUCTION_BYTES = 8;
/** The kernel's bound on one program, BPF_MAXINSNS. */
export const MAX_INSTRUCTIONS = 4096;
/** A conditional jump counts the instructions it skips in one byte. */
const MAX_SKIP = 255;

const LOAD_WORD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN = 0x06; // BPF_RET | BPF_K
const JUMP = 0x05; // BPF_JMP | BPF_JA
const JUMPS = { eq: 0x15, gt: 0x25, ge: 0x35 } as const; // BPF_JMP | BPF_J* | BPF_K

interface Instruction {
  code: number;
  whenTrue: number;
  whenFalse: number;
  value: number;
}

/** Each method writes in front of what is there, and returns the address of what it wrote. */
export class BackwardAssembler {
  readonly #code: Instruction[] = [];
  readonly #returns = new Map<number, Address>();

  /** End with a seccomp action. */
  return(action: number): Address {
    const known = this.#returns.get(action);
    if (known !== undefined && this.#skip(known) <= MAX_SKIP) return known;
    const address = this.#write({ code: RETURN, whenTrue: 0, whenFalse: 0, value: action });
    this.#returns.set(action, address);
    return address;
  }

  /** Load a word of `struct seccomp_data` into the accumulator, then go on at `next`. */
  load(offset: number, next: Address): Address {
    return this.#before(next, { code: LOAD_WORD, whenTrue: 0, whenFalse: 0, value: offset });
  }

  /** Keep the accumulator's bits in `mask`, then go on at `next`. */
  and(mask: number, next: Address): Address {
    return this.#before(next, { code: AND, whenTrue: 0, whenFalse: 0, value: mask });
  }

  /** Compare the accumulator, unsigned. */
  branch(condition: keyof typeof JUMPS, value: number, whenTrue: Address, whenFalse: Address): Address {
    if (whenTrue === whenFalse) return whenTrue;
    // the nearer one first, since reaching the other may need an instruction that takes it farther away
    const near = Math.max(whenTrue, whenFalse);
    const far = this.#reachable(Math.min(whenTrue, whenFalse), 1);
    const reached = this.#reachable(near, 0);
    const [onTrue, onFalse] = whenTrue > whenFalse ? [reached, far] : [far, reached];
    return this.#write({
      code: JUMPS[condition],
      whenTrue: this.#skip(onTrue),
      whenFalse: this.#skip(onFalse),
      value,
    });
  }

  /** The program, whose first instruction is the one written last. Little-endian, as every supported machine is. */
  finish(): Uint8Array {
    const bytes = new Uint8Array(this.#code.length * INSTRUCTION_BYTES);
    const view = new DataView(bytes.buffer);
    this.#code.toReversed().forEach(({ code, whenTrue, whenFalse, value }, index) => {
      const at = index * INSTRUCTION_BYTES;
      view.setUint16(at, code, true);
      view.setUint8(at + 2, whenTrue);
      view.setUint8(at + 3, whenFalse);
      view.setUint32(at + 4, value, true);
    });
    return bytes;
  }

  /** How many instructions one written now would skip to reach the address. */
  #skip(address: Address): number {
    return this.#code.length - address;
  }

  #write(instruction: Instruction): Address {
    this.#code.push(instruction);
    return this.#code.length;
  }

  /** Writes an instruction that falls through, with a jump behind it where `next` does not follow. */
  #before(next: Address, instruction: Instruction): Address {
    if (this.#skip(next) > 0) this.#jump(next);
    return this.#write(instruction);
  }

  #jump(target: Address): Address {
    return this.#write({ code: JUMP, whenTrue: 0, whenFalse: 0, value: this.#skip(target) });
  }

  /** The target, or a jump to it, near enough even when `more` instructions are still written before the branch. */
  #reachable(target: Address, more: number): Address {
    return this.#skip(target) + more > MAX_SKIP ? this.#jump(target) : target;
  }
}
