/** Takes apart the framed stream in which stdout and stderr of a process without a terminal share one connection. */

/** What a frame's first byte says. */
export type StdioChannel = 'stdin' | 'stdout' | 'stderr' | 'error';

const channels: readonly StdioChannel[] = ['stdin', 'stdout', 'stderr', 'error'];

const headerBytes = 8;

/**
 * An incremental reader of frames: byte 0 is the channel, bytes 4 to 7 the big-endian length of the payload that
 * follows. Frames may be cut anywhere between chunks; payload is passed on as it comes, without copying.
 */
export class StdioDemultiplexer {
  readonly #deliver: (channel: StdioChannel, payload: Buffer) => void;
  readonly #header = Buffer.alloc(headerBytes);
  #headerFilled = 0;
  #channel: StdioChannel = 'stdout';
  #remaining = 0;

  constructor(deliver: (channel: StdioChannel, payload: Buffer) => void) {
    this.#deliver = deliver;
  }

  /**
   * Takes the next bytes off the wire.
   *
   * @throws {Error} for a channel that does not exist: the stream is not framed
   */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#remaining > 0) {
        const end = Math.min(chunk.length, at + this.#remaining);
        this.#deliver(this.#channel, chunk.subarray(at, end));
        this.#remaining -= end - at;
        at = end;
        continue;
      }
      const end = Math.min(chunk.length, at + headerBytes - this.#headerFilled);
      chunk.copy(this.#header, this.#headerFilled, at, end);
      this.#headerFilled += end - at;
      at = end;
      if (this.#headerFilled < headerBytes) return;
      const channel = channels[this.#header[0]!];
      if (!channel) throw new Error(`unrecognized input header: ${this.#header[0]}`);
      this.#channel = channel;
      this.#remaining = this.#header.readUInt32BE(4);
      this.#headerFilled = 0;
    }
  }
}
