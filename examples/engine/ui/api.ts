/** The Docker Engine API as the page reads it; `tare ui` hands requests on to the daemon. */

/** An answer that was an error, in the daemon's words. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The JSON at `path`. @throws {ApiError} */
export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await open(path, signal);
  return (await response.json()) as T;
}

async function open(path: string, signal: AbortSignal | undefined): Promise<Response> {
  const response = await fetch(`api${path}`, signal ? { signal } : {});
  if (response.ok) return response;
  const text = await response.text();
  throw new ApiError(response.status, messageIn(text) ?? (text || response.statusText));
}

function messageIn(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { message?: string }).message;
  } catch {
    // not JSON: the text is the message
    return undefined;
  }
}

/** The bytes of a stream that ends when `signal` says so. @throws {ApiError} */
export async function* bytes(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = (await open(path, signal)).body!.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** The objects of a stream of JSON lines. @throws {ApiError} */
export async function* objects<T>(path: string, signal: AbortSignal): AsyncGenerator<T> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of bytes(path, signal)) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop()!;
    for (const line of lines) if (line.trim() !== '') yield JSON.parse(line) as T;
  }
}

const HEADER_BYTES = 8;

/** The text of a container's log: raw from a terminal, else in frames of stdout and stderr. */
export async function* logText(path: string, terminal: boolean, signal: AbortSignal): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest: Uint8Array<ArrayBufferLike> = new Uint8Array();
  for await (const chunk of bytes(path, signal)) {
    if (terminal) {
      yield decoder.decode(chunk, { stream: true });
      continue;
    }
    const all = new Uint8Array(rest.length + chunk.length);
    all.set(rest);
    all.set(chunk, rest.length);
    let at = 0;
    while (all.length - at >= HEADER_BYTES) {
      const length = new DataView(all.buffer, at).getUint32(4);
      if (all.length - at - HEADER_BYTES < length) break;
      yield decoder.decode(all.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length), { stream: true });
      at += HEADER_BYTES + length;
    }
    rest = all.subarray(at);
  }
}
