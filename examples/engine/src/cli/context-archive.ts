/** A context as one file, to take to another machine: `meta.json` and its keys in a tar archive. */
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { extract, pack } from 'tar-stream';
import { asReadable } from './build-context.ts';
import type { ContextMeta, TlsFiles } from './contexts.ts';
import { CliError, messageOf } from './errors.ts';

const keys: readonly string[] = ['ca.pem', 'cert.pem', 'key.pem'];
/** As Docker has it: a context is a few kilobytes. */
const MAX_BYTES = 10 << 20;

/** The archive of a context. */
export async function packContext(meta: ContextMeta, tls: TlsFiles): Promise<Buffer> {
  const archive = pack();
  archive.entry({ name: 'meta.json', mode: 0o644 }, JSON.stringify(meta));
  archive.entry({ name: 'tls', type: 'directory', mode: 0o700 });
  if (Object.keys(tls).length > 0) archive.entry({ name: 'tls/docker', type: 'directory', mode: 0o700 });
  for (const [file, pem] of Object.entries(tls))
    archive.entry({ name: `tls/docker/${file}`, mode: 0o600 }, pem);
  archive.finalize();
  return buffer(asReadable(archive));
}

/**
 * Reads an archive that {@link packContext} or the docker CLI wrote. Only the names that belong to a context are taken.
 *
 * @throws {CliError} when it holds no context
 */
export async function unpackContext(source: Readable): Promise<{ meta: ContextMeta; tls: TlsFiles }> {
  const entries = extract();
  let meta: ContextMeta | undefined;
  const tls: Record<string, Buffer> = {};
  let bytes = 0;
  source.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) source.destroy(new CliError('invalid context: read exceeds the defined limit'));
  });
  source.once('error', (error) => entries.destroy(error));
  source.pipe(entries as unknown as NodeJS.WritableStream);
  try {
    for await (const entry of entries) {
      const content = await buffer(entry as unknown as Readable);
      const { name } = entry.header;
      if (name === 'meta.json') meta = JSON.parse(content.toString()) as ContextMeta;
      const key = /^tls\/docker\/([^/]+)$/.exec(name)?.[1];
      if (key && keys.includes(key)) tls[key] = content;
    }
  } catch (cause) {
    throw cause instanceof CliError ? cause : new CliError(`invalid context: ${messageOf(cause)}`, { cause });
  } finally {
    source.destroy();
  }
  if (!meta) throw new CliError('invalid context: no metadata found');
  return { meta: { Name: '', Metadata: meta.Metadata ?? {}, Endpoints: meta.Endpoints ?? {} }, tls };
}
