/** Pseudo-terminals. */
import { load } from '#binding';

/** The size of a terminal in characters. */
export interface WindowSize {
  columns: number;
  rows: number;
}

/** Both ends of a new pseudo-terminal, close-on-exec and not the controlling terminal. The caller closes both. */
export interface PseudoTerminal {
  master: number;
  slave: number;
  /** The terminal is `/dev/pts/<number>` where it was opened. */
  number: number;
}

/** Opens a pseudo-terminal. @throws {Error} `ENOSPC` when the system has no more of them */
export function openPseudoTerminal(): PseudoTerminal {
  return load().openpty();
}

/** Sets a terminal's size through either end; the foreground processes get SIGWINCH. @throws {Error} `ENOTTY` */
export function setWindowSize(fd: number, size: WindowSize): void {
  load().setWindowSize(fd, size.columns, size.rows);
}

/** @throws {Error} `ENOTTY` */
export function getWindowSize(fd: number): WindowSize {
  return load().getWindowSize(fd);
}
