/** Reading and writing the small files of cgroupfs, with errors that name the file and the value. */
import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from 'node:fs';

import { RuntimeError } from '../errors.ts';

const buffer = Buffer.allocUnsafe(64 * 1024);

/** The file's text, or undefined when the kernel does not have it. */
export function readOptional(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw failure('read', path, error);
  }
  try {
    const size = readSync(fd, buffer);
    if (size < buffer.length) return buffer.toString('latin1', 0, size);
  } catch (error) {
    // ENODEV, ENOTSUP: the file is there and its controller is not
    if (isMissing(error)) return undefined;
    throw failure('read', path, error);
  } finally {
    closeSync(fd);
  }
  return readFileSync(path, 'latin1');
}

/** The file's text. @throws {RuntimeError} `CGROUP_FAILED` */
export function read(path: string): string {
  const text = readOptional(path);
  if (text === undefined) throw failure('read', path, { code: 'ENOENT', errno: -2, syscall: 'open' });
  return text;
}

/**
 * Writes a value in one write(2), as the kernel wants it.
 *
 * @throws {RuntimeError} `UNSUPPORTED` when the kernel has no such file, `CGROUP_FAILED` when it refuses the value
 */
export function write(path: string, value: string): void {
  if (!writeOptional(path, value)) {
    throw new RuntimeError('UNSUPPORTED', `this kernel has no ${path}, needed for the value ${value}`, {
      path,
    });
  }
}

/** A file that takes several values, one write(2) each. */
export interface CgroupFile extends Disposable {
  /** @throws {RuntimeError} `CGROUP_FAILED` when the kernel refuses the value */
  write(value: string): void;
}

/** @throws {RuntimeError} `UNSUPPORTED` when the kernel has no such file */
export function openFile(path: string): CgroupFile {
  let fd: number;
  try {
    fd = openSync(path, constants.O_WRONLY);
  } catch (error) {
    if (!isMissing(error)) throw failure('write to', path, error);
    throw new RuntimeError('UNSUPPORTED', `this kernel has no ${path}`, { path });
  }
  return {
    write(value) {
      try {
        writeSync(fd, value);
      } catch (error) {
        throw failure(`write '${value}' to`, path, error);
      }
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** Like {@link write}; false when the kernel has no such file. */
export function writeOptional(path: string, value: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_WRONLY);
  } catch (error) {
    if (isMissing(error)) return false;
    throw failure(`write '${value}' to`, path, error);
  }
  try {
    writeSync(fd, value);
  } catch (error) {
    throw failure(`write '${value}' to`, path, error);
  } finally {
    closeSync(fd);
  }
  return true;
}

/** Whether the error says that the file, the folder or the controller behind it is not there. */
export function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENODEV' || code === 'ENOTSUP' || code === 'ENOTDIR';
}

/** A failed system call on a cgroup, as the error of this package. */
export function failure(action: string, path: string, cause: unknown): RuntimeError {
  const { code, errno, syscall } = cause as NodeJS.ErrnoException;
  return new RuntimeError('CGROUP_FAILED', `cannot ${action} ${path}: ${code ?? String(cause)}`, {
    cause,
    path,
    ...(errno === undefined ? {} : { errno: Math.abs(errno) }),
    ...(code === undefined ? {} : { errnoCode: code }),
    ...(syscall === undefined ? {} : { syscall }),
  });
}

/** `key value` lines, as cpu.stat and memory.stat have them. Lines of another shape are left out. */
export function keyValues(text: string): Record<string, bigint> {
  const values: Record<string, bigint> = {};
  for (const line of text.split('\n')) {
    const at = line.indexOf(' ');
    if (at > 0 && /^\d+$/.test(line.slice(at + 1))) values[line.slice(0, at)] = BigInt(line.slice(at + 1));
  }
  return values;
}
