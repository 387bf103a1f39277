/**
 * Blobs whose transfer broke off, by a failure or with the process: the beginning is kept and the next attempt goes on
 * from it. At rest it is `<ingest>/partial.<algorithm>-<hex>`; whoever continues it takes it by rename, as
 * `<ingest>/<owner>.<random>.<algorithm>-<hex>`, so that two never write to one file.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerError, digestAlgorithm, digestHex, type Descriptor, type Digest } from '@tare/image-spec';
import { isVouchedFor, Verifier, type OpenContent } from '@tare/image-spec/content';
import { systemCode } from '../errors.ts';
import { isOwnerAlive } from '../owner.ts';
import type { Arrival } from './arriving.ts';
import { isMissing, publish, temporaryPath, writeChecked } from './ingest.ts';

/** A beginning that nobody has come back for in this time is removed. A week. */
const MAX_AGE_MS = 7 * 24 * 3600 * 1000;

/** For streams that check themselves. */
const NO_CHECK = { update: () => undefined };

const READ_CHUNK = 1024 * 1024;

const AT_REST = /^partial\.((?:sha256|sha512)-[0-9a-f]+)$/;
const IN_HAND = /^([^.]+)\.[0-9a-f]+(?:\.((?:sha256|sha512)-[0-9a-f]+))?$/;

/**
 * Writes the blob to `target`, from where an earlier attempt stopped. Of wrong bytes nothing is kept.
 *
 * @param arrival - is told how far it is
 */
export async function ingestResuming(
  ingestDir: string,
  target: string,
  descriptor: Descriptor,
  openContent: OpenContent,
  signal: AbortSignal | undefined,
  arrival: Arrival,
): Promise<void> {
  signal?.throwIfAborted();
  const temporary = temporaryPath(ingestDir, `.${nameOf(descriptor.digest)}`);
  const rest = join(ingestDir, `partial.${nameOf(descriptor.digest)}`);
  await rename(rest, temporary).catch(unlessMissing);
  const file = await open(temporary, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    const verifier = new Verifier(descriptor, createHash);
    const offset = await checkBeginning(file, verifier, descriptor.size, signal);
    const onWritten = (bytes: number): void => arrival.grow(temporary, bytes);
    if (offset > 0) onWritten(offset);
    const missing = offset < descriptor.size || descriptor.size === 0;
    const content = missing ? await openContent(offset) : undefined;
    if (offset === 0 && content !== undefined && isVouchedFor(content, descriptor)) {
      await writeChecked(file, 0, NO_CHECK, content, signal, onWritten);
    } else {
      if (content !== undefined) await writeChecked(file, offset, verifier, content, signal, onWritten);
      verifier.end();
    }
    await file.chmod(0o444);
    await publish(file, temporary, target, signal);
  } catch (error) {
    if (isWorthless(error)) await rm(temporary, { force: true });
    else await putBack(temporary, rest);
    throw error;
  } finally {
    await file.close();
  }
}

/** Clears up after processes that are gone: what can be continued is kept for a week, the rest removed. */
export async function sweepIngests(ingestDir: string, now = Date.now()): Promise<void> {
  for (const name of await readdir(ingestDir)) {
    const path = join(ingestDir, name);
    if (AT_REST.test(name)) {
      const age = now - ((await stat(path).catch(unlessMissing))?.mtimeMs ?? now);
      if (age > MAX_AGE_MS) await rm(path, { force: true });
      continue;
    }
    const [, owner = '', blob] = IN_HAND.exec(name) ?? [];
    if (isOwnerAlive(owner)) continue;
    if (blob === undefined) await rm(path, { force: true, recursive: true });
    else await putBack(path, join(ingestDir, `partial.${blob}`));
  }
}

/** Hashes what is there. @returns its length; more than the blob has is cut */
async function checkBeginning(
  file: FileHandle,
  verifier: Verifier,
  sizeBytes: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { size } = await file.stat();
  if (size > sizeBytes) await file.truncate(0);
  else {
    const buffer = Buffer.allocUnsafeSlow(Math.min(READ_CHUNK, size));
    while (verifier.size < size) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.byteLength, verifier.size);
      if (bytesRead === 0) break;
      verifier.update(buffer.subarray(0, bytesRead));
    }
  }
  return verifier.size;
}

async function putBack(temporary: string, rest: string): Promise<void> {
  const size = async (path: string) => (await stat(path).catch(unlessMissing))?.size ?? 0;
  // of two beginnings the longer one
  if ((await size(temporary)) > (await size(rest))) await rename(temporary, rest);
  else await rm(temporary, { force: true });
}

/** Whether nothing can be made of what was written: wrong bytes, or no room for more. */
function isWorthless(error: unknown): boolean {
  const code = systemCode(error);
  const wrong = ContainerError.is(error) && /^(?:SIZE|DIGEST)_MISMATCH$/.test(error.code);
  return wrong || code === 'ENOSPC' || code === 'EDQUOT' || code === 'EIO';
}

function nameOf(digest: Digest): string {
  return `${digestAlgorithm(digest)}-${digestHex(digest)}`;
}

function unlessMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}
