/** The pid file: one engine at a time. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemError } from './errors.ts';

/** Held while the engine runs; disposing of it removes the file. */
export class Pidfile implements Disposable {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /**
   * Creates the file with this process's pid. One that names a dead process is replaced.
   *
   * @throws {EngineError} `SYSTEM` while the process it names is alive
   */
  static acquire(path: string): Pidfile {
    mkdirSync(dirname(path), { recursive: true });
    for (;;) {
      try {
        writeFileSync(path, `${process.pid}\n`, { flag: 'wx', mode: 0o644 });
        return new Pidfile(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
          throw systemError(`cannot write the pid file ${path}: ${(error as Error).message}`, {
            cause: error,
          });
        }
      }
      const pid = readPid(path);
      if (pid !== undefined && isAlive(pid)) {
        throw systemError(
          `process with PID ${pid} is still running: stop it, or remove ${path} if it is no engine`,
        );
      }
      // removed only if it still names the dead process; a racing engine then fails on 'wx' above or wins it
      if (readPid(path) === pid) rmSync(path, { force: true });
    }
  }

  [Symbol.dispose](): void {
    if (readPid(this.#path) === process.pid) rmSync(this.#path, { force: true });
  }
}

function readPid(path: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(path, 'utf8'), 10);
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  // a pid file of the last boot often names this very pid again
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    // a dead one that nobody has buried, as there are where process 1 is no init
    return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
