/** What becomes of a build's result: an image here, or files at the client. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { posix } from 'node:path';

import type { Solved } from '../builder/build.ts';
import { asStep, withStageRoot, type BuildOutput, type BuildParts } from '../builder/state.ts';
import { parseTagParameters } from '../images/names.ts';
import { PACKET } from './file-sync.ts';
import { FileSend } from './gen/file-send_pb.ts';
import { FileSync, PacketSchema, StatSchema, type Packet, type Stat } from './gen/session_pb.ts';
import type { Exporter } from './gen/control_pb.ts';
import { goKind, toGoMode } from './go-mode.ts';
import { Outbox } from './outbox.ts';
import type { Session } from './sessions.ts';

/** What an export works with. */
export interface ExportPlace {
  parts: BuildParts;
  session: () => Promise<Session>;
  output: BuildOutput;
  signal: AbortSignal;
}

/** Does one export. @returns what the client learns of it */
export async function exportResult(
  { type, attrs }: Pick<Exporter, 'type' | 'attrs'>,
  solved: Solved,
  place: ExportPlace,
): Promise<Record<string, string>> {
  const step = (title: string) => ({
    id: `export ${title}`,
    name: title,
    text: '',
    kind: 'transfer' as const,
    inputs: [],
  });
  switch (type) {
    case 'moby':
    case 'image':
      return asStep(place.output, step('exporting to image'), () => toImage(attrs, solved));
    case 'tar':
      await asStep(place.output, step('sending tarball'), () => sendArchive(solved, place));
      return {};
    case 'local':
      await asStep(place.output, step('copying files'), () => sendFiles(solved, place));
      return {};
    default:
      throw new ConnectError(
        `the exporter ${type} is not there: image, tar and local are`,
        Code.Unimplemented,
      );
  }
}

async function toImage(
  attrs: Readonly<Record<string, string>>,
  solved: Solved,
): Promise<Record<string, string>> {
  const names = (attrs['name'] ?? '').split(',').filter((name) => name !== '');
  const id = await solved.toImage(names.map((name) => parseTagParameters(name, '')));
  return {
    'containerimage.digest': id,
    'containerimage.config.digest': id,
    ...(names.length > 0 ? { 'image.name': names.join(',') } : {}),
  };
}

/** Files go to the client in the packets they come from it, on another service. */
const DirectorySend = directorySend();

function directorySend(): typeof FileSync {
  const service = { ...FileSync, typeName: FileSend.typeName, name: FileSend.name };
  const method = { ...FileSync.method.diffCopy, parent: service };
  return { ...service, methods: [method], method: { diffCopy: method } } as unknown as typeof FileSync;
}

async function sendArchive(solved: Solved, { parts, session, signal }: ExportPlace): Promise<void> {
  const client = (await session()).client(FileSend);
  await withStageRoot(parts, solved.state.chain.at(-1), async (root) => {
    const archive = parts.trees.pack(root, '/', '.', { signal });
    const pieces = (async function* pieces() {
      for await (const data of archive) yield { data };
    })();
    // the client ends its side when it has everything
    for await (const _reply of client.diffCopy(pieces, { signal }));
  });
}

/** Files as the sending side of fsutil's protocol: a listing, then the content of what the client asks for. */
async function sendFiles(solved: Solved, { parts, session, signal }: ExportPlace): Promise<void> {
  const client = (await session()).client(DirectorySend);
  await withStageRoot(parts, solved.state.chain.at(-1), async (root) => {
    const out = new Outbox<Packet>();
    const send = (packet: MessageInitShape<typeof PacketSchema>): void =>
      out.push(create(PacketSchema, packet));
    const listed = listing(parts, root, '');
    for (const stat of listed) send({ type: PACKET.stat, stat });
    send({ type: PACKET.stat });
    try {
      for await (const packet of client.diffCopy(out, { signal })) {
        if (packet.type === PACKET.request) {
          const stat = listed[packet.id];
          if (stat === undefined || goKind(stat.mode) !== 'file') {
            throw new ConnectError(
              `the client asked for file ${packet.id}, which is none`,
              Code.InvalidArgument,
            );
          }
          for await (const data of parts.trees.stream(root, `/${stat.path}`)) {
            send({ type: PACKET.data, id: packet.id, data: Uint8Array.from(data) });
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
  });
}

function listing({ trees }: Pick<BuildParts, 'trees'>, root: string, directory: string): Stat[] {
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
      return kind === 'directory' ? [stat, ...listing({ trees }, root, path)] : [stat];
    });
}
