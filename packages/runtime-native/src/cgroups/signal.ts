/** Signals to many processes, some of which may be ending. */
import { failure } from './files.ts';

/** @throws {RuntimeError} `CGROUP_FAILED` for a process that lives and cannot be signalled */
export function signalAll(pids: readonly number[], signal: number): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      // ended meanwhile
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH')
        throw failure(`signal process ${pid} of`, 'the cgroup', error);
    }
  }
}
