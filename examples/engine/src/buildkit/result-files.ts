/** The files of a result, as a client takes them. */
import { create } from '@bufbuild/protobuf';
import { posix } from 'node:path';

import type { Trees } from '../containers/trees.ts';
import { StatSchema, type Stat } from './gen/session_pb.ts';
import { goKind, toGoMode } from './wire/go-mode.ts';
import type { FilesToSend } from './wire/send-files.ts';

/** Everything below `root`. */
export function resultFiles(trees: Trees, root: string): FilesToSend {
  return {
    entries: listing(trees, root, ''),
    read: (path) => trees.stream(root, `/${path}`),
  };
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
