/** Received files in a directory. */
import {
  chmodSync,
  closeSync,
  fchmodSync,
  futimesSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import type { Stat } from '../../buildkit/gen/session_pb.ts';
import { goPermissions } from '../../buildkit/wire/go-mode.ts';
import type { FileTarget, FileWriter } from '../../buildkit/wire/receive-files.ts';

/** Writes one tree. Dispose of it to close files that did not come whole. */
export class DirectoryTarget implements FileTarget<void>, Disposable {
  readonly #root: string;
  readonly #directories: Stat[] = [];
  readonly #open = new Set<number>();

  /** @param root - empty, and of nobody else */
  constructor(root: string) {
    this.#root = root;
  }

  directory(stat: Stat): void {
    mkdirSync(this.#path(stat.path), 0o700);
    this.#directories.push(stat);
  }

  symlink(stat: Stat): void {
    symlinkSync(stat.linkname, this.#path(stat.path));
    lutimesSync(this.#path(stat.path), seconds(stat), seconds(stat));
  }

  file(stat: Stat): FileWriter {
    let fd: number | undefined;
    // not before something comes: a listing may be longer than what can be open
    const file = (): number => {
      fd ??= openSync(this.#path(stat.path), 'wx', 0o600);
      this.#open.add(fd);
      return fd;
    };
    return {
      write: (data) => {
        for (let at = 0; at < data.length;) at += writeSync(file(), data, at);
      },
      end: () => {
        const own = file();
        fchmodSync(own, goPermissions(stat.mode));
        futimesSync(own, seconds(stat), seconds(stat));
        this.#open.delete(own);
        closeSync(own);
      },
    };
  }

  link(path: string, target: string): void {
    linkSync(this.#path(target), this.#path(path));
  }

  end(): void {
    // after everything in them
    for (const stat of this.#directories.reverse()) {
      chmodSync(this.#path(stat.path), goPermissions(stat.mode));
      utimesSync(this.#path(stat.path), seconds(stat), seconds(stat));
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open) closeSync(fd);
    this.#open.clear();
  }

  #path(name: string): string {
    return join(this.#root, name);
  }
}

function seconds({ modTime }: Stat): number {
  return Number(modTime) / 1e9;
}
