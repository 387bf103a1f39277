/** Files that lie in no directory, as an archive or as the summary of one: what `packTree` does for directories. */
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import {
  encodeTarHeader,
  summarizeContent,
  summarizeEntry,
  tarPadding,
  TarPieces,
  type TarEntry,
} from '@tare/layer-store';

import type { FileMember, LayerOptions, TreePart } from './trees.ts';

/** What is made of files. */
export interface PartForm {
  /** Times and content do not matter. */
  summary: boolean;
  header(entry: TarEntry): Uint8Array;
  /** Of a file that is in memory. */
  content(content: Uint8Array): Iterable<Uint8Array>;
}

/** Members of an archive. */
export const ARCHIVE: PartForm = {
  summary: false,
  header: encodeTarHeader,
  content: (content) => [content, tarPadding(content.length)],
};

/** A text that says what they are. */
export const SUMMARY: PartForm = {
  summary: true,
  header: (entry) => Buffer.from(summarizeEntry(entry)),
  content: (content) => [digestLine(createHash('sha256').update(content).digest('hex'))],
};

/** Longest time before other work gets its turn. */
const SLICE_MS = 5;

/** The members that a part of an archive has, in pieces. */
export async function* packMembers(
  members: Iterable<FileMember>,
  part: TreePart & { kind: 'tree' },
  form: PartForm,
  { signal, ...options }: LayerOptions & { signal: AbortSignal },
): AsyncGenerator<Uint8Array, void, undefined> {
  const pieces = new TarPieces(options);
  const { members: sink } = options;
  let sliceStart = performance.now();
  const rest = async (): Promise<void> => {
    if (performance.now() - sliceStart < SLICE_MS) return;
    await setImmediate();
    signal.throwIfAborted();
    sliceStart = performance.now();
  };
  const excluded = new Exclusion(part);
  /** Which names were listed first. */
  const links = new Map<object, string>();
  for (const { entry, content, inode } of members) {
    const shown = asPart(entry, part);
    if (excluded.has(shown)) continue;
    const first = links.get(inode);
    if (first !== undefined) {
      const link: TarEntry = { ...shown, type: 'hardlink', linkName: first, size: 0 };
      pieces.put(form.header(link));
      sink?.entry(link);
      sink?.entryEnd();
      continue;
    }
    if (shown.type !== 'directory') links.set(inode, shown.name);
    pieces.put(form.header(shown));
    sink?.entry(shown);
    if (content !== undefined) {
      const { size } = shown;
      if (form.summary) {
        const digest = content.digest();
        pieces.put(digestLine(typeof digest === 'string' ? digest : await digest));
      } else {
        for (let at = 0; at < size;) {
          if (pieces.full) yield pieces.take();
          const room = pieces.room(size - at);
          content.read(room, 0, room.length, at);
          pieces.add(room.length);
          sink?.data(room, at);
          at += room.length;
          await rest();
        }
        pieces.put(tarPadding(size));
      }
    }
    sink?.entryEnd();
    if (pieces.full) yield pieces.take();
    await rest();
  }
  yield pieces.take();
}

/** A member under its name in the archive, and with the looks that it is to have there. */
function asPart(entry: TarEntry, { name, owner, mtimeNs, modeOf }: TreePart & { kind: 'tree' }): TarEntry {
  const prefix = Buffer.from(name, 'utf8').toString('latin1');
  const under = (path: string): string =>
    path === '' || prefix === '' ? `${prefix}${path}` : `${prefix}/${path}`;
  const isDirectory = entry.type === 'directory';
  const shown = { ...entry, ...owner, name: under(entry.name) + (isDirectory ? '/' : '') };
  if (mtimeNs !== undefined) shown.mtimeNs = mtimeNs;
  if (modeOf !== undefined && entry.type !== 'symlink') shown.mode = modeOf(entry.mode, isDirectory);
  return shown;
}

/** What is left out, with everything below it. */
class Exclusion {
  readonly #exclude: (TreePart & { kind: 'tree' })['exclude'];
  #below = '';

  constructor({ exclude }: TreePart & { kind: 'tree' }) {
    this.#exclude = exclude;
  }

  has({ name, type }: TarEntry): boolean {
    if (this.#exclude === undefined) return false;
    if (this.#below !== '' && name.startsWith(this.#below)) return true;
    const isDirectory = type === 'directory';
    const path = Buffer.from(isDirectory ? name.slice(0, -1) : name, 'latin1').toString('utf8');
    if (!this.#exclude(path, isDirectory)) return false;
    this.#below = isDirectory ? name : '';
    return true;
  }
}

function digestLine(digest: string): Uint8Array {
  return Buffer.from(summarizeContent(digest));
}
