/** Files of a result to a client: the sending side of fsutil's protocol. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { posix } from 'node:path';

import type { Trees } from '../containers/trees.ts';
import { PACKET } from './file-sync.ts';
import { FileSend } from './gen/file-send_pb.ts';
import { FileSync, PacketSchema, StatSchema, type Packet, type Stat } from './gen/session_pb.ts';
import { goKind, toGoMode } from './go-mode.ts';
import { Outbox } from './outbox.ts';
import type { Session } from './sessions.ts';

/** Files go to the client in the packets they come from it, on another service. */
const DirectorySend = directorySend();

function directorySend(): typeof FileSync {
  const service = { ...FileSync, typeName: FileSend.typeName, name: FileSend.name };
  const method = { ...FileSync.method.diffCopy, parent: service };
  return { ...service, methods: [method], method: { diffCopy: method } } as unknown as typeof FileSync;
}

/** A listing of everything below `root`, then the content of what the client asks for. */
export async function sendFiles(
  session: Session,
  trees: Trees,
  root: string,
  signal: AbortSignal,
): Promise<void> {
  const out = new Outbox<Packet>();
  const send = (packet: MessageInitShape<typeof PacketSchema>): void =>
    out.push(create(PacketSchema, packet));
  const listed = listing(trees, root, '');
  for (const stat of listed) send({ type: PACKET.stat, stat });
  send({ type: PACKET.stat });
  try {
    for await (const packet of session.client(DirectorySend).diffCopy(out, { signal })) {
      if (packet.type === PACKET.request) {
        const stat = listed[packet.id];
        if (stat === undefined || goKind(stat.mode) !== 'file') {
          throw new ConnectError(
            `the client asked for file ${packet.id}, which is none`,
            Code.InvalidArgument,
          );
        }
        for await (const data of trees.stream(root, `/${stat.path}`)) {
          send({ type: PACKET.data, id: packet.id, data: Uint8Array.from(data) });
          // a file is read no faster than the client takes it
          await out.taken();
        }
        send({ type: PACKET.data, id: packet.id });
      } else if (packet.type === PACKET.end) {
        send({ type: PACKET.end });
        out.end();
      } else if (packet.type === PACKET.error) {
        throw new ConnectError(Buffer.from(packet.data).toString('utf8'), Code.Unknown);
      }
    }
  } finally {
    out.end();
  }
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
