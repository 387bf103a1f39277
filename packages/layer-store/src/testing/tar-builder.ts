/** Layer archives for tests, honest ones and hostile ones. */
import { createHash } from 'node:crypto';
import { parseDigest, type Descriptor, type Digest } from '@tare/image-spec';
import type { TarEntry, TarEntryType } from '../tar/entry.ts';
import { byteString } from '../tar/entry.ts';
import { encodeTarHeader, TAR_END, tarEntry, tarPadding } from '../tar/write.ts';

/** Collects members and gives the archive. Names are text, written as UTF-8 and never cleaned. */
export class TarBuilder {
  readonly #parts: Uint8Array[] = [];

  /** A file with `content`. */
  file(name: string, content: string | Uint8Array = '', fields: Partial<TarEntry> = {}): this {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    this.#parts.push(encodeTarHeader(tarEntry('file', name, { ...fields, size: bytes.byteLength })));
    this.#parts.push(bytes, tarPadding(bytes.byteLength));
    return this;
  }

  directory(name: string, fields: Partial<TarEntry> = {}): this {
    return this.entry('directory', name, fields);
  }

  symlink(name: string, target: string, fields: Partial<TarEntry> = {}): this {
    return this.entry('symlink', name, { ...fields, linkName: byteString(target) });
  }

  hardlink(name: string, target: string, fields: Partial<TarEntry> = {}): this {
    return this.entry('hardlink', name, { ...fields, linkName: byteString(target) });
  }

  /** Any member without content. */
  entry(type: TarEntryType, name: string, fields: Partial<TarEntry> = {}): this {
    this.#parts.push(encodeTarHeader(tarEntry(type, name, fields)));
    return this;
  }

  /** Bytes as they are: headers that no writer would make. */
  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    return this;
  }

  /** The archive with its end mark. */
  build(): Buffer {
    return Buffer.concat([...this.#parts, TAR_END]);
  }
}

/** The digest of `bytes`. */
export function sha256(bytes: Uint8Array): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
}

/** The descriptor of a blob. */
export function describeBlob(bytes: Uint8Array, mediaType: string): Descriptor {
  return { mediaType, digest: sha256(bytes), size: bytes.byteLength };
}
