/** Caches for other engines: at registries, and in directories of a build's client. */
import { Code, ConnectError } from '@connectrpc/connect';
import { MEDIA_TYPES, parseDigest } from '@tare/image-spec';

import { copyDocuments } from '../builder/documents.ts';
import { compressedCache, pushCache } from '../builder/in-engine/push.ts';
import type { BuildParts } from '../builder/in-engine/parts.ts';
import { asStep, transfer } from '../builder/output.ts';
import { readCache } from '../builder/remote-cache.ts';
import type { CacheSource } from '../builder/request.ts';
import type { Solved } from '../builder/solve.ts';
import { clientContent } from './client-content.ts';
import { credentials } from './credentials.ts';
import type { ExportPlace } from './exporters.ts';
import type { CacheEntry } from './gen/control_pb.ts';
import type { Session } from './sessions.ts';

/** A cache in a directory of the client's. @param digest - of its manifest */
export function localCache(
  session: Session,
  directory: string,
  digest: string,
  { images }: Pick<BuildParts, 'images'>,
): CacheSource {
  return {
    name: `local cache ${directory}`,
    load: async ({ signal }) => {
      const source = clientContent(session, directory);
      const size = await source.sizeOf(parseDigest(digest), signal);
      const manifest = { mediaType: MEDIA_TYPES.ociManifest, digest: parseDigest(digest), size };
      return readCache(source, manifest, images.content, signal);
    },
  };
}

/** Writes one `--cache-to`. @returns what the client learns of it */
export async function exportCache(
  { type, attrs }: Pick<CacheEntry, 'type' | 'attrs'>,
  results: readonly Solved[],
  { parts, session, output, signal }: ExportPlace,
): Promise<Record<string, string>> {
  const mode = attrs['mode'] === 'max' ? 'max' : 'min';
  const wanted = (name: string): string => {
    const value = attrs[name];
    if (value) return value;
    throw new ConnectError(`the cache of type ${type} needs ${name}=`, Code.InvalidArgument);
  };
  switch (type) {
    case 'inline':
      // an image says itself which steps made its layers
      return {};
    case 'registry': {
      const reference = wanted('ref');
      const auth = async (registry: string) => credentials(await session(), registry);
      const step = transfer(`cache to ${reference}`, `exporting cache to registry ${reference}`);
      await asStep(output, step, () => pushCache(parts, results, { reference, mode }, { auth, signal }));
      return {};
    }
    case 'local': {
      const directory = wanted('dest');
      const step = transfer(`cache to ${directory}`, 'exporting cache to client directory');
      return asStep(output, step, async () => {
        const documents = await compressedCache(parts, results, mode, signal);
        const sink = clientContent(await session(), directory);
        const manifest = await copyDocuments(parts.images.content, sink, documents, signal);
        return { 'cache.manifest': JSON.stringify(manifest) };
      });
    }
    default:
      throw new ConnectError(
        `caches of type ${type} are not written: inline, registry and local are`,
        Code.Unimplemented,
      );
  }
}
