/** SCTP associations between namespaces, where the kernel has SCTP. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { run } from '../../../../test/lab/process.ts';
import { canCompile, compileStatic } from '../../../../test/lab/programs.ts';

const SOURCE = join(import.meta.dirname, 'sctp.c');

/** The program of sctp.c, in a folder of its own. */
export class Sctp implements AsyncDisposable {
  readonly #folder: string;
  readonly #program: string;
  readonly #stack = new AsyncDisposableStack();

  private constructor(folder: string, program: string) {
    this.#folder = folder;
    this.#program = program;
  }

  /** Why there is none here; undefined when there is. */
  static async missing(): Promise<string | undefined> {
    if (!canCompile(SOURCE)) return 'needs gcc';
    await using sctp = await Sctp.open();
    const { code } = await run(sctp.#program, ['probe']);
    return code === 0 ? undefined : 'this kernel has no SCTP; the virtual machine of test/lab/vm has';
  }

  static async open(): Promise<Sctp> {
    const folder = await mkdtemp(join(tmpdir(), 'tare-sctp-'));
    const program = join(folder, 'sctp');
    await writeFile(program, await compileStatic(SOURCE), { mode: 0o755 });
    return new Sctp(folder, program);
  }

  /** Answers at a port of a namespace, `<name> <client address>`, until this is disposed of. */
  async serve(sandbox: string, port: number, name: string): Promise<void> {
    const args = [`--net=${sandbox}`, this.#program, 'serve', String(port), name];
    const child = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#stack.defer(async () => {
      const closed = once(child, 'close');
      if (child.kill()) await closed;
    });
    await once(child.stdout, 'data');
  }

  /** What is answered, asked from a namespace or from the host; undefined when nothing is. */
  async ask(sandbox: string | undefined, address: string, port: number): Promise<string | undefined> {
    const words = [this.#program, 'ask', address, String(port)];
    const [program, ...args] = sandbox === undefined ? words : ['nsenter', `--net=${sandbox}`, ...words];
    const { code, stdout } = await run(program!, args);
    return code === 0 ? stdout.trim() : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
