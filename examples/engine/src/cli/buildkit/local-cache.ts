/** Caches in directories of this machine: OCI layouts, whose blobs the daemon reads and writes. */
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Content } from '../../buildkit/gen/content_pb.ts';
import { CliError } from '../errors.ts';

const COMMIT = 2;

/** Serves the directories in `stores`, by the names that the daemon has for them. */
export function contentService(stores: ReadonlyMap<string, string>): ServiceImpl<typeof Content> {
  const blob = (context: HandlerContext, digest: string): string => {
    const store = stores.get(context.requestHeader.get('buildkit-attachable-store-id') ?? '');
    const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1];
    if (store === undefined || hex === undefined) {
      throw new ConnectError(`no such content: ${digest}`, Code.NotFound);
    }
    return join(store, 'blobs', 'sha256', hex);
  };
  const sizeOf = async (path: string): Promise<number | undefined> =>
    stat(path).then(
      ({ size }) => size,
      () => undefined,
    );
  return {
    async info({ digest }, context) {
      const size = await sizeOf(blob(context, digest));
      if (size === undefined) throw new ConnectError(`no such content: ${digest}`, Code.NotFound);
      return { info: { digest, size: BigInt(size) } };
    },
    async *read({ digest, offset }, context) {
      const path = blob(context, digest);
      if ((await sizeOf(path)) === undefined)
        throw new ConnectError(`no such content: ${digest}`, Code.NotFound);
      let at = Number(offset);
      for await (const data of createReadStream(path, { start: at, highWaterMark: 512 * 1024 })) {
        yield { offset: BigInt(at), data: Uint8Array.from(data as Buffer) };
        at += (data as Buffer).length;
      }
    },
    async *write(requests, context) {
      let open: { path: string; temporary: string; file: ReturnType<typeof createWriteStream> } | undefined;
      const hash = createHash('sha256');
      let offset = 0n;
      try {
        for await (const { action, expected, data, total } of requests) {
          if (!open) {
            const path = blob(context, expected);
            if ((await sizeOf(path)) !== undefined) {
              throw new ConnectError(`${expected} is there already`, Code.AlreadyExists);
            }
            await mkdir(join(path, '..'), { recursive: true });
            const temporary = `${path}.${randomBytes(6).toString('hex')}`;
            open = { path, temporary, file: createWriteStream(temporary, { flags: 'wx' }) };
            await once(open.file, 'open');
          }
          hash.update(data);
          offset += BigInt(data.length);
          if (data.length > 0 && !open.file.write(data)) await once(open.file, 'drain');
          if (action === COMMIT) {
            const digest = `sha256:${hash.copy().digest('hex')}`;
            if (digest !== expected) {
              throw new ConnectError(`${expected} is something else: ${digest}`, Code.FailedPrecondition);
            }
            open.file.end();
            await once(open.file, 'finish');
            await rename(open.temporary, open.path);
          }
          yield { action, offset, total, digest: action === COMMIT ? expected : '' };
        }
      } finally {
        open?.file.destroy();
        if (open) await rm(open.temporary, { force: true });
      }
    },
  };
}

interface Index {
  manifests: { digest: string; annotations?: Record<string, string> }[];
}

const REF = 'org.opencontainers.image.ref.name';

/** The digest of a cache in a layout. @throws {CliError} when there is none */
export async function cacheDigest(directory: string, tag = 'latest'): Promise<string> {
  const text = await readFile(join(directory, 'index.json'), 'utf8').catch((cause: unknown) => {
    throw new CliError(`there is no cache in ${directory}`, { cause });
  });
  const { manifests } = JSON.parse(text) as Index;
  const found = manifests.find(({ annotations }) => annotations?.[REF] === tag) ?? manifests.at(-1);
  if (!found) throw new CliError(`there is no cache in ${directory}`);
  return found.digest;
}

/** Makes `manifest` the cache of a layout whose blobs are there. */
export async function nameCache(directory: string, manifest: object, tag = 'latest'): Promise<void> {
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ ...manifest, annotations: { [REF]: tag } }],
  };
  await writeFile(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const temporary = join(directory, `.index.${randomBytes(6).toString('hex')}`);
  await writeFile(temporary, JSON.stringify(index));
  await rename(temporary, join(directory, 'index.json'));
}
