/** Starts a monitor: the plan in a sealed memory file, a socket to hear of it, and nothing else inherited. */
import { closeSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';

import { SEAL, addSeals, memfdCreate, spawnHelper } from '../process.ts';
import type { StdioOptions } from '../runtime.ts';
import { socketpair } from '../unix-socket.ts';

/** A monitor that was just started. */
export interface StartedMonitor {
  pidfd: number;
  /** The connection that it regards as its maker's: until the container is set up, closing it undoes everything. */
  socket: Socket;
}

/** A memory file that nobody can change any more. The caller closes it. */
function sealedFile(bytes: Uint8Array): number {
  const fd = memfdCreate('tare-plan');
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    addSeals(fd, SEAL.SEAL | SEAL.SHRINK | SEAL.GROW | SEAL.WRITE);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Starts the helper as the monitor of one process.
 *
 * @param stateFd descriptor of the directory for its socket and its records; borrowed
 * @param stdio whose descriptors the process gets, if any
 * @throws {Error} with `code` and `syscall` when no process could be made
 */
export function startMonitor(plan: Uint8Array, stateFd: number, stdio: StdioOptions = {}): StartedMonitor {
  const { inherit: [stdin, stdout, stderr] = [-1, -1, -1], consoleSocket, pass = [] } = stdio;
  const further = [...(consoleSocket === undefined ? [] : [consoleSocket]), ...pass];
  const planFd = sealedFile(plan);
  try {
    const [ours, theirs] = socketpair('stream');
    try {
      const { pidfd } = spawnHelper({
        argv: ['tare-init', 'monitor', String(further.length)],
        fds: [planFd, theirs, stateFd, ...further],
        stdin,
        stdout,
        stderr,
      });
      return { pidfd, socket: new Socket({ fd: ours, readable: true, writable: true }) };
    } catch (error) {
      closeSync(ours);
      throw error;
    } finally {
      closeSync(theirs);
    }
  } finally {
    closeSync(planFd);
  }
}
