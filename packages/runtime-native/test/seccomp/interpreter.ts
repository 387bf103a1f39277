/** Classic BPF as the kernel runs it for seccomp, and the naive reading of a profile: the two must agree. */

/** `struct seccomp_data`. */
export interface Call {
  architecture: number;
  number: number;
  /** Six of them. */
  args: readonly bigint[];
}

/** Runs a filter on a call and returns the action. Throws where the kernel would have refused the program. */
export function run(program: Uint8Array, call: Call): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, call.number, true);
  data.setUint32(4, call.architecture, true);
  call.args.forEach((argument, index) => data.setBigUint64(16 + 8 * index, argument, true));
  const code = new DataView(program.buffer, program.byteOffset, program.byteLength);
  let accumulator = 0;
  for (let at = 0; at < program.length / 8; at++) {
    const operation = code.getUint16(at * 8, true);
    const whenTrue = code.getUint8(at * 8 + 2);
    const whenFalse = code.getUint8(at * 8 + 3);
    const value = code.getUint32(at * 8 + 4, true);
    switch (operation) {
      case 0x20:
        if (value % 4 !== 0 || value > 60) throw new Error(`load from ${value}`);
        accumulator = data.getUint32(value, true);
        break;
      case 0x54:
        accumulator = (accumulator & value) >>> 0;
        break;
      case 0x05:
        at += value;
        break;
      case 0x15:
        at += accumulator === value ? whenTrue : whenFalse;
        break;
      case 0x25:
        at += accumulator > value ? whenTrue : whenFalse;
        break;
      case 0x35:
        at += accumulator >= value ? whenTrue : whenFalse;
        break;
      case 0x06:
        return value;
      default:
        throw new Error(`operation 0x${operation.toString(16)}`);
    }
  }
  throw new Error('the program ran off its end');
}
