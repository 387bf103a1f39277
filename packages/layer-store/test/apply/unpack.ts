/** Unpacks archives below a temporary directory that also holds a victim, for tests. */
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layerFs } from '@tare/runtime-native/syscalls';
import {
  applyLayer,
  nodeLayerFs,
  type AppliedLayer,
  type ApplyOptions,
  type LayerFs,
} from '../../src/index.ts';

/** A place to unpack into, and a directory beside it that nothing may touch. */
export class Place implements Disposable {
  readonly base = mkdtempSync(join(tmpdir(), 'tare-apply-'));
  readonly root = join(this.base, 'root');
  readonly victim = join(this.base, 'victim');
  readonly #before: string;

  constructor() {
    mkdirSync(this.root);
    mkdirSync(this.victim, { mode: 0o700 });
    writeFileSync(join(this.victim, 'secret'), 'secret', { mode: 0o600 });
    this.#before = this.#look();
  }

  path(name: string): string {
    return join(this.root, name);
  }

  async unpack(archive: Uint8Array, options: ApplyOptions = native): Promise<AppliedLayer> {
    return applyLayer(once(archive), this.root, options);
  }

  /** Throws when anything outside of the root changed. */
  checkVictim(): void {
    const after = this.#look();
    if (after !== this.#before)
      throw new Error(`THIS IS A PATH ESCAPE!\nbefore ${this.#before}\nafter  ${after}`);
  }

  [Symbol.dispose](): void {
    rmSync(this.base, { recursive: true, force: true });
  }

  #look(): string {
    const describe = (path: string): unknown => {
      const { mode, uid, gid, mtimeMs, nlink, ino } = lstatSync(path);
      return [path, mode, uid, gid, mtimeMs, nlink, ino];
    };
    return JSON.stringify([
      readdirSync(this.base).sort(),
      describe(this.victim),
      readdirSync(this.victim).sort(),
      describe(join(this.victim, 'secret')),
      readFileSync(join(this.victim, 'secret'), 'utf8'),
    ]);
  }
}

/** As an engine unpacks: everything, marks of overlay. Needs root. */
export const native: ApplyOptions = { fs: layerFs };

const { createFile: _create, fileQueue: _queue, readPlainFile: _read, ...singleCalls } = layerFs;

/** The native calls without those that do a whole file at once, which are optional. */
export const singly: LayerFs = singleCalls;

/** As an ordinary user without the addon unpacks into a plain directory. */
export const plain: ApplyOptions = {
  fs: nodeLayerFs,
  whiteouts: 'remove',
  ownership: 'caller',
  unsupported: 'skip',
};

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Whether this is root; tests that need it are skipped otherwise, and say so. */
export const isRoot = process.geteuid?.() === 0;
export const needsRoot = 'needs root: owners, devices, whiteouts and trusted attributes';
