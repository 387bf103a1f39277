/** Frames between the monitor and its clients; `native/helper/message.h` has the same in C. */
import { getSystemErrorMap } from 'node:util';

/** Bytes before the payload: type, argument, id (16 bits), length (32 bits). */
export const FRAME_HEADER_BYTES = 8;
/** The largest payload in either direction. */
export const FRAME_MAX_PAYLOAD = 64 << 10;
/** Version of the protocol, as STATUS carries it. */
export const PROTOCOL_VERSION = 1;

/** Types of frames; from 0x80 on they come from the monitor. */
export const FRAME = {
  START: 1,
  ATTACH: 2,
  STDIN: 3,
  STDIN_EOF: 4,
  RESIZE: 5,
  KILL: 6,
  PROCEED: 7,
  ABANDON: 8,
  RESULT: 0x80,
  STATUS: 0x81,
  FAILED: 0x82,
  EXIT: 0x83,
  OUTPUT: 0x84,
  END: 0x85,
  HOOKS: 0x86,
  STAGE: 0x87,
} as const;

/** What STATUS says of the process. */
export const PHASE = { CREATING: 1, CREATED: 2, RUNNING: 3, STOPPED: 4 } as const;

/** One frame. `payload` is a view of what was received. */
export interface Frame {
  type: number;
  argument: number;
  id: number;
  payload: Buffer;
}

/** A frame as bytes. The payload is at most {@link FRAME_MAX_PAYLOAD} bytes. */
export function encodeFrame(type: number, argument = 0, id = 0, payload?: Uint8Array): Buffer {
  const length = payload?.length ?? 0;
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES + length);
  bytes[0] = type;
  bytes[1] = argument;
  bytes.writeUInt16LE(id, 2);
  bytes.writeUInt32LE(length, 4);
  if (payload) bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

/** Cuts a stream of bytes into frames, wherever the pieces of the stream are cut. */
export class FrameReader {
  #rest: Buffer | undefined;

  /** The frames that `chunk` completes. @throws {RangeError} for a frame longer than any monitor sends */
  *push(chunk: Buffer): Generator<Frame> {
    let bytes = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk;
    this.#rest = undefined;
    while (bytes.length >= FRAME_HEADER_BYTES) {
      const length = bytes.readUInt32LE(4);
      if (length > FRAME_MAX_PAYLOAD) throw new RangeError(`a frame of ${length} bytes`);
      const end = FRAME_HEADER_BYTES + length;
      if (bytes.length < end) break;
      yield {
        type: bytes[0]!,
        argument: bytes[1]!,
        id: bytes.readUInt16LE(2),
        payload: bytes.subarray(FRAME_HEADER_BYTES, end),
      };
      bytes = bytes.subarray(end);
    }
    if (bytes.length > 0) this.#rest = bytes;
  }
}

/** What failed in the helper: the operation, the system call, its errno, and what it was about. */
export interface HelperFailure {
  errno: number;
  /** `ENOENT`, … */
  errnoCode: string;
  /** `no such file or directory`, … */
  reason: string;
  step: string;
  syscall: string;
  path: string;
}

/** Decodes the payload of FAILED, and of a RESULT after a failed start. */
export function decodeFailure(payload: Buffer): HelperFailure {
  const errno = payload.readUInt32LE(0);
  const [step = '', syscall = '', path = ''] = payload.toString('utf8', 4).split('\0');
  const [errnoCode, reason] = getSystemErrorMap().get(-errno) ?? [`E${errno}`, `error ${errno}`];
  return { errno, errnoCode, reason, step, syscall, path };
}
