/** Keeps the first bytes of a process's output in memory: for commands the engine runs itself and asks for their answer. */
import type { Process } from '@tare/runtime-native';

/** A client of a process's stdio that is no connection. */
export class OutputCapture {
  readonly #limitBytes: number;
  readonly #chunks: Uint8Array[] = [];
  #sizeBytes = 0;
  #truncated = false;
  #drained: Promise<void> = Promise.resolve();

  /** @param limitBytes - what comes after that many bytes is read and dropped */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Joins the process's stdio; output from its start on is kept. */
  async connect(process: Process): Promise<void> {
    const attachment = await process.attach();
    this.#drained = (async () => {
      await using _attachment = attachment;
      for await (const { data } of attachment.output) this.#keep(data);
    })();
    // reported by `text()`, which may be called later than it happens
    this.#drained.catch(() => undefined);
  }

  /** The output, stdout and stderr as they came, once the process has ended; with `...` where it was cut. */
  async text(): Promise<string> {
    await this.#drained;
    return this.textSoFar();
  }

  /** The output until now. */
  textSoFar(): string {
    return Buffer.concat(this.#chunks).toString() + (this.#truncated ? '...' : '');
  }

  #keep(data: Uint8Array): void {
    const room = this.#limitBytes - this.#sizeBytes;
    if (data.length > room) this.#truncated = true;
    if (room <= 0) return;
    const kept = Uint8Array.from(data.subarray(0, room));
    this.#chunks.push(kept);
    this.#sizeBytes += kept.length;
  }
}
