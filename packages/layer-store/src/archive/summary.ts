/**
 * What makes a tree what it is, without its times: the text that a key of it is made of. The same whether the tree is read
 * from a directory or known from an archive.
 */
import type { TarEntry } from '../tar/entry.ts';

/** One member in a line. Of a file, the digest of its content follows in another: {@link summarizeContent}. */
export function summarizeEntry(entry: TarEntry): string {
  const { name, type, mode, uid, gid, size, linkName, devMajor, devMinor, xattrs } = entry;
  const attributes = [...xattrs]
    .map(([attribute, value]) => [attribute, Buffer.from(value).toString('base64')] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const parts = [name, type, mode, uid, gid, size, linkName, devMajor, devMinor, attributes];
  return `${JSON.stringify(parts)}\n`;
}

/** @param digest - sha256 of the content in hexadecimal digits */
export function summarizeContent(digest: string): string {
  return `${digest}\n`;
}
