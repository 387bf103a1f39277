/** The frame of gzip files around what is deflated: headers, trailers, several members in one file (RFC 1952). */

const DEFLATE = 8;
/** Magic, method, flags, time, extra flags, system. */
const FIXED_BYTES = 10;
/** Checksum and length of the content. */
export const GZIP_TRAILER_BYTES = 8;
/** Names and comments have no length of their own: what goes on for so long is no header. */
const MAX_HEADER_BYTES = 1024 * 1024;
const [FHCRC, FEXTRA, FNAME, FCOMMENT] = [2, 4, 8, 16];

/**
 * The length of the header at the beginning of `bytes`; undefined when more of them are needed to tell.
 *
 * @throws {Error} `Z_DATA_ERROR`, as zlib does, for anything else than a header
 */
export function gzipHeaderBytes(bytes: Uint8Array): number | undefined {
  const [id1, id2, method, flags] = bytes;
  if (id2 === undefined) return undefined;
  if (id1 !== 0x1f || id2 !== 0x8b) throw zlibError('Z_DATA_ERROR', 'incorrect header check');
  if (flags === undefined) return undefined;
  if (method !== DEFLATE) throw zlibError('Z_DATA_ERROR', 'unknown compression method');
  if ((flags & 0xe0) !== 0) throw zlibError('Z_DATA_ERROR', 'unknown header flags set');
  let at = FIXED_BYTES;
  if ((flags & FEXTRA) !== 0) {
    const [low, high] = bytes.subarray(at, at + 2);
    if (low === undefined || high === undefined) return incomplete(bytes);
    at += 2 + low + high * 256;
  }
  for (const flag of [FNAME, FCOMMENT]) {
    if ((flags & flag) === 0) continue;
    const nul = bytes.indexOf(0, at);
    if (nul === -1) return incomplete(bytes);
    at = nul + 1;
  }
  if ((flags & FHCRC) !== 0) at += 2;
  return at <= bytes.length ? at : incomplete(bytes);
}

function incomplete(bytes: Uint8Array): undefined {
  if (bytes.length > MAX_HEADER_BYTES) throw zlibError('Z_DATA_ERROR', 'a header without an end');
}

/** An error as those of `node:zlib` look. */
export function zlibError(code: 'Z_DATA_ERROR' | 'Z_BUF_ERROR', message: string): Error {
  return Object.assign(new Error(message), { code, errno: code === 'Z_DATA_ERROR' ? -3 : -5 });
}
