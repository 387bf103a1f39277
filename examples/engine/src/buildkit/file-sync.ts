/** A client's files into a tree of ours, and a result's files to the client. */
import { Code, ConnectError } from '@connectrpc/connect';

import type { Spool } from '../builder/spool.ts';
import type { SpooledTree } from '../builder/spooled-tree.ts';
import { FileSend } from './gen/file-send_pb.ts';
import { FileSync, type Packet } from './gen/session_pb.ts';
import type { Session } from './sessions.ts';
import { TreeTarget } from './tree-target.ts';
import { Outbox } from './wire/outbox.ts';
import { batched, unbatched } from './wire/batches.ts';
import { BATCHES_FIELD, LISTING_FIELD } from './wire/packets.ts';
import { receiveFiles } from './wire/receive-files.ts';
import { sendFiles, type FilesToSend } from './wire/send-files.ts';
import { repeatedHeaders } from './wire/transport.ts';

/** What is taken of which of the client's directories. */
export interface FileSyncOptions {
  /** The client's name for it: `context`, `dockerfile`. */
  name: string;
  /** Patterns of an ignore file. */
  exclude?: readonly string[];
  /** Nothing else is taken. */
  include?: readonly string[];
  /** Gets what the files hold. */
  spool: Spool;
  /** What was taken before, into the same spool: what has not changed is not taken again. */
  before?: SpooledTree | undefined;
  onProgress?: (bytes: number) => void;
  signal: AbortSignal;
}

/**
 * Takes files. All of them belong to root here.
 *
 * @throws {ConnectError} `NotFound` for a directory that the client does not give, `InvalidArgument` for files that no
 *   honest client sends
 */
export async function syncFiles(session: Session, options: FileSyncOptions): Promise<SpooledTree> {
  const { name, include, exclude, before, signal } = options;
  const { listing } = before ?? {};
  const headers = repeatedHeaders({
    'dir-name': [name],
    ...(include ? { 'include-patterns': include, followpaths: include } : {}),
    ...(exclude && exclude.length > 0 ? { 'exclude-patterns': exclude } : {}),
    ...(listing === undefined ? {} : { [LISTING_FIELD]: [listing] }),
    [BATCHES_FIELD]: ['1'],
  });
  const requests = new Outbox<Packet>();
  let batches = false;
  const packets = session.client(FileSync).diffCopy(
    batched(requests, () => batches),
    {
      headers,
      signal: AbortSignal.any([signal, session.closed]),
    },
  );
  const target = new TreeTarget(options.spool, before);
  const known = listing === undefined ? undefined : before;
  const received = unbatched(packets, () => (batches = true));
  return receiveFiles(received, requests, target, { ...options, known });
}

/** Files go to the client in the packets they come from it, on another service. */
const DirectorySend = directorySend();

function directorySend(): typeof FileSync {
  const service = { ...FileSync, typeName: FileSend.typeName, name: FileSend.name };
  const method = { ...FileSync.method.diffCopy, parent: service };
  return { ...service, methods: [method], method: { diffCopy: method } } as unknown as typeof FileSync;
}

/** Sends files of results. @throws {ConnectError} what the client says is wrong */
export async function sendResult(session: Session, files: FilesToSend, signal: AbortSignal): Promise<void> {
  const asked = new Outbox<Packet>();
  const sent = sendFiles(files, asked);
  try {
    for await (const packet of session.client(DirectorySend).diffCopy(sent, { signal })) asked.push(packet);
  } catch (error) {
    signal.throwIfAborted();
    throw ConnectError.from(error, Code.Unknown);
  } finally {
    asked.end();
  }
}
