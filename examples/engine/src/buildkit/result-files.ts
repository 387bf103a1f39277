/** The files of a result, as a client takes them. */
import { create } from '@bufbuild/protobuf';
import { constants } from 'node:fs';
import { posix } from 'node:path';

import type { Trees } from '../containers/trees.ts';
import { StatSchema, type Stat } from './gen/session_pb.ts';
import { goKind, toGoMode } from './wire/go-mode.ts';
import type { FilesToSend } from './wire/send-files.ts';

/** A result, and the directory that its files come in; empty for none. */
export interface NamedRoot {
  root: string;
  name: string;
}

/** Everything below the roots. Of several that come in one directory the last counts. */
export function resultFiles(trees: Trees, roots: readonly NamedRoot[]): FilesToSend {
  const found = new Map<string, { stat: Stat; read: () => AsyncIterable<Uint8Array> }>();
  for (const { root, name } of roots) {
    if (name !== '') found.set(name, { stat: directory(name), read: () => trees.stream(root, '/') });
    for (const stat of listing(trees, root, '')) {
      const { path } = stat;
      stat.path = posix.join(name, path);
      found.set(stat.path, { stat, read: () => trees.stream(root, `/${path}`) });
    }
  }
  const entries = [...found.values()].map(({ stat }) => stat);
  return { entries: entries.sort((a, b) => order(a.path, b.path)), read: (path) => found.get(path)!.read() };
}

function directory(path: string): Stat {
  return create(StatSchema, { path, mode: toGoMode(constants.S_IFDIR | 0o755) });
}

/** Directories before what is in them, names sorted. */
function order(a: string, b: string): number {
  const [one, other] = [a, b].map((path) => path.replaceAll('/', '\0')) as [string, string];
  return one < other ? -1 : one > other ? 1 : 0;
}

function listing(trees: Trees, root: string, directory: string): Stat[] {
  return trees
    .names(root, `/${directory}`)
    .sort((a, b) => (a < b ? -1 : 1))
    .flatMap((name): Stat[] => {
      const path = posix.join(directory, name);
      const found = trees.stat(root, `/${path}`);
      const mode = toGoMode(found.mode);
      const kind = goKind(mode);
      // devices and pipes are no files that a client wants
      if (kind === 'other') return [];
      const stat = create(StatSchema, {
        path,
        mode,
        size: kind === 'file' ? BigInt(found.size) : 0n,
        modTime: found.mtimeNs,
        linkname: found.linkName ?? '',
      });
      return kind === 'directory' ? [stat, ...listing(trees, root, path)] : [stat];
    });
}
