/** What the daemon may ask this machine for during a build: files, credentials, secrets, agents; and where results go. */
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Content } from '../../buildkit/gen/content_pb.ts';
import { FileSend } from '../../buildkit/gen/file-send_pb.ts';
import { Auth, FileSync, type Packet } from '../../buildkit/gen/session_pb.ts';
import { Secrets } from '../../buildkit/gen/secrets_pb.ts';
import { SSH } from '../../buildkit/gen/ssh_pb.ts';
import { Upload } from '../../buildkit/gen/upload_pb.ts';
import { batched, unbatched } from '../../buildkit/wire/batches.ts';
import { BATCHES_FIELD, LISTING_FIELD } from '../../buildkit/wire/packets.ts';
import { sendFiles } from '../../buildkit/wire/send-files.ts';
import type { Cli } from '../cli.ts';
import type { OfferedServices } from './connection.ts';
import { contentService } from './local-cache.ts';
import { localFiles } from './local-files.ts';
import { receiveDirectory } from './receive-directory.ts';
import type { Output } from './outputs.ts';
import type { Listed } from './unchanged.ts';

/** What is offered. */
export interface Offer {
  /** Directories by the daemon's names for them. */
  directories: ReadonlyMap<string, string>;
  /** A context or Dockerfile of standard input, and its path. */
  upload: { path: string; data: Uint8Array } | undefined;
  /** Files or variables by id. */
  secrets: ReadonlyMap<string, { file: string } | { value: string }>;
  /** Sockets of agents by id. */
  agents: ReadonlyMap<string, string>;
  output: Output | undefined;
  /** A directory that was looked through a moment ago. */
  listed?: Listed | undefined;
  /** Directories of caches by the daemon's names for them. */
  caches: ReadonlyMap<string, string>;
}

export function offeredServices(cli: Cli, offer: Offer): OfferedServices {
  const methods = [
    '/moby.filesync.v1.FileSync/DiffCopy',
    '/moby.filesync.v1.Auth/Credentials',
    '/moby.buildkit.secrets.v1.Secrets/GetSecret',
    ...(offer.agents.size > 0
      ? ['/moby.sshforward.v1.SSH/CheckAgent', '/moby.sshforward.v1.SSH/ForwardAgent']
      : []),
    ...(offer.upload ? ['/moby.upload.v1.Upload/Pull'] : []),
    ...(offer.output?.destination === undefined ? [] : ['/moby.filesync.v1.FileSend/DiffCopy']),
    ...(offer.caches.size > 0
      ? ['Info', 'Read', 'Write'].map((name) => `/containerd.services.content.v1.Content/${name}`)
      : []),
  ];
  return {
    methods,
    routes(router) {
      files(router, offer);
      router.service(Auth, { credentials: ({ host }) => credentials(cli, host) });
      router.service(Secrets, { getSecret: ({ id }) => secret(offer, id) });
      agents(router, offer);
      router.service(Content, contentService(offer.caches));
    },
  };
}

function files(router: ConnectRouter, { directories, listed, upload, output }: Offer): void {
  router.service(FileSync, {
    async *diffCopy(packets, context) {
      const [name = ''] = values(context, 'dir-name');
      const directory = directories.get(name);
      if (directory === undefined) throw new ConnectError(`no access allowed to dir ${name}`, Code.NotFound);
      const patterns = {
        include: values(context, 'include-patterns'),
        exclude: values(context, 'exclude-patterns'),
      };
      const [known] = values(context, LISTING_FIELD);
      const batches = context.requestHeader.has(BATCHES_FIELD);
      const isListed =
        listed?.root === directory &&
        patterns.include.length === 0 &&
        isDeepStrictEqual(listed.exclude, patterns.exclude);
      const wanted = isListed ? listed.files : localFiles(directory, patterns);
      const sent = sendFiles(wanted, unbatched(packets), known);
      yield* batched(sent, () => batches);
    },
  });
  if (upload) {
    router.service(Upload, {
      async *pull(_requests, context) {
        if (context.requestHeader.get('urlpath') !== upload.path) {
          throw new ConnectError('no such upload', Code.NotFound);
        }
        const piece = 1024 * 1024;
        for (let at = 0; at < upload.data.length; at += piece) {
          yield { data: Uint8Array.from(upload.data.subarray(at, at + piece)) };
        }
      },
    });
  }
  const destination = output?.destination;
  if (destination === undefined) return;
  if (output?.type === 'local') {
    // files come in the packets that they go in, on a service of another name
    const service = { ...FileSync, typeName: FileSend.typeName, name: FileSend.name };
    const method = { ...FileSync.method.diffCopy, parent: service };
    const directorySend = { ...service, methods: [method], method: { diffCopy: method } };
    router.service(directorySend as unknown as typeof FileSync, {
      diffCopy: (packets: AsyncIterable<Packet>) => receiveDirectory(packets, destination),
    });
    return;
  }
  router.service(FileSend, {
    async *diffCopy(messages) {
      await writeArchive(messages, destination);
      yield* [];
    },
  });
}

/** A header's values; fsutil escapes those that are not plain. */
function values({ requestHeader }: HandlerContext, name: string): string[] {
  const text = requestHeader.get(name);
  if (text === null) return [];
  const parts = text.split(/,\s*/);
  return requestHeader.get(`${name}-encoded`) === null
    ? parts
    : parts.map((part) => decodeURIComponent(part));
}

async function writeArchive(
  messages: AsyncIterable<{ data: Uint8Array }>,
  destination: string,
): Promise<void> {
  if (destination === '-') {
    for await (const { data } of messages) {
      if (!process.stdout.write(data)) await once(process.stdout, 'drain');
    }
    return;
  }
  await mkdir(dirname(destination), { recursive: true });
  const temporary = `${destination}.${process.pid}.partial`;
  const file = createWriteStream(temporary);
  try {
    for await (const { data } of messages) if (!file.write(data)) await once(file, 'drain');
    file.end();
    await once(file, 'finish');
    await rename(temporary, destination);
  } finally {
    file.destroy();
    await rm(temporary, { force: true });
  }
}

async function credentials(cli: Cli, host: string): Promise<{ username: string; secret: string }> {
  const registry = host === 'registry-1.docker.io' ? 'docker.io' : host;
  const found = await cli.config.credentials(registry);
  if (found?.identitytoken) return { username: '', secret: found.identitytoken };
  return { username: found?.username ?? '', secret: found?.password ?? '' };
}

async function secret({ secrets }: Offer, id: string): Promise<{ data: Uint8Array<ArrayBuffer> }> {
  const found = secrets.get(id);
  if (!found) throw new ConnectError(`secret ${id} not found`, Code.NotFound);
  const data = 'file' in found ? await readFile(found.file) : Buffer.from(found.value);
  return { data: Uint8Array.from(data) };
}

function agents(router: ConnectRouter, offer: Offer): void {
  const socketOf = (id: string): string => {
    const path = offer.agents.get(id || 'default');
    if (path === undefined) throw new ConnectError(`unset ssh forward key ${id}`, Code.NotFound);
    return path;
  };
  router.service(SSH, {
    checkAgent: ({ id }) => {
      socketOf(id);
      return {};
    },
    async *forwardAgent(messages, context) {
      const socket = connect(socketOf(context.requestHeader.get('buildkit.ssh.id') ?? ''));
      context.signal.addEventListener('abort', () => socket.destroy(), { once: true });
      const sending = (async () => {
        for await (const { data } of messages) socket.write(data);
        socket.end();
      })();
      // the daemon's side may go first: the agent's end is then ours to close
      sending.catch(() => socket.destroy());
      for await (const data of socket) yield { data: Uint8Array.from(data as Buffer) };
    },
  });
}
