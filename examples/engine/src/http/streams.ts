/** The two stream formats of the API: multiplexed stdio and progress messages. */

/** The stream number in a frame header; 3 is an error of the engine's own, which ends the client's copying. */
export const STREAM_TYPE = { stdin: 0, stdout: 1, stderr: 2, system: 3 } as const;

const FRAME_HEADER_BYTES = 8;

/**
 * The 8-byte header that comes before `length` bytes of one stream: type, three zero bytes, length big-endian.
 *
 * Writing header and payload separately spares a copy; cork the socket so that they leave together.
 */
export function frameHeader(stream: keyof typeof STREAM_TYPE, length: number): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header[0] = STREAM_TYPE[stream];
  header.writeUInt32BE(length, 4);
  return header;
}

/** One frame, header and payload in one buffer. */
export function frame(stream: keyof typeof STREAM_TYPE, data: Uint8Array): Buffer {
  return Buffer.concat([frameHeader(stream, data.length), data]);
}

/** How far one step is; `total` is left out when unknown. */
export interface ProgressDetail {
  current?: number;
  total?: number;
}

/** One message of a pull, push, load, import or build stream. */
export interface ProgressMessage {
  stream?: string;
  status?: string;
  progressDetail?: ProgressDetail;
  id?: string;
  aux?: unknown;
  errorDetail?: { code?: number; message: string };
}

/** A message as it goes over the wire: one JSON object and CRLF, with the legacy `progress` and `error` texts. */
export function encodeProgress(message: ProgressMessage): string {
  const { progressDetail: detail, errorDetail, ...rest } = message;
  const progress = detail?.current === undefined ? undefined : progressText(detail);
  return `${JSON.stringify({
    ...rest,
    ...(detail === undefined ? {} : { progressDetail: detail }),
    ...(progress === undefined ? {} : { progress }),
    ...(errorDetail === undefined ? {} : { errorDetail, error: errorDetail.message }),
  })}\r\n`;
}

/** Columns of the bar; the CLI draws its own from `progressDetail`, this text is for everybody else. */
const BAR_WIDTH = 50;

function progressText({ current = 0, total = 0 }: ProgressDetail): string {
  if (total <= 0) return formatSize(current).padStart(8);
  const filled = Math.min(BAR_WIDTH, Math.floor((current / total) * BAR_WIDTH));
  const bar =
    filled >= BAR_WIDTH ? '='.repeat(BAR_WIDTH) : `${'='.repeat(filled)}>`.padEnd(BAR_WIDTH + 1, ' ');
  const closed = filled >= BAR_WIDTH ? `[${bar}>]` : `[${bar}]`;
  return `${closed} ${formatSize(current).padStart(8)}/${formatSize(total)}`;
}

/** Bytes in decimal units with four significant digits, as Docker prints them: `1.234MB`. */
export function formatSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${Number(value.toPrecision(4))}${units[unit]}`;
}
