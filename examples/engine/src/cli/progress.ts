/** Progress of pulls, pushes, loads and builds: lines off a terminal, one live bar a layer on it. */
import type { IncomingMessage } from 'node:http';
import type { OutputStream } from './cli.ts';
import { CliError } from './errors.ts';

/** One object of a progress stream. */
export interface ProgressMessage {
  id?: string;
  status?: string;
  /** Output of a build or load, newlines included. */
  stream?: string;
  progressDetail?: { current?: number; total?: number; units?: string };
  error?: string;
  errorDetail?: { code?: number; message?: string };
  aux?: unknown;
}

/** Shows messages one by one; disposed when the stream ends, however it ends. */
export interface ProgressView extends Disposable {
  show(message: ProgressMessage): void;
}

/**
 * Reads a response as progress messages, which the daemon separates by line ends.
 *
 * @throws {CliError} with the daemon's words when it reports a failure inside the stream
 */
export async function* readProgress(response: IncomingMessage): AsyncGenerator<ProgressMessage> {
  response.setEncoding('utf8');
  let rest = '';
  for await (const chunk of response) {
    const lines = (rest + (chunk as string)).split('\n');
    rest = lines.pop()!;
    for (const line of lines) if (line.trim() !== '') yield checked(JSON.parse(line) as ProgressMessage);
  }
  if (rest.trim() !== '') yield checked(JSON.parse(rest) as ProgressMessage);
}

function checked(message: ProgressMessage): ProgressMessage {
  const failure = message.errorDetail?.message ?? message.error;
  if (failure !== undefined) throw new CliError(failure, { exitCode: message.errorDetail?.code || 1 });
  return message;
}

/**
 * Shows a response's progress until it ends.
 *
 * @param onAux receives `aux` objects, which carry results rather than progress
 */
export async function displayProgress(
  response: IncomingMessage,
  out: OutputStream,
  onAux?: (aux: unknown) => void,
): Promise<void> {
  using view = out.isTTY ? await openBars(out) : lines(out);
  for await (const message of readProgress(response)) {
    if (message.aux !== undefined) onAux?.(message.aux);
    else view.show(message);
  }
}

/** Bars are loaded only for a terminal: most pulls of scripts never draw one. */
async function openBars(out: OutputStream): Promise<ProgressView> {
  const { layerBars } = await import('./progress-bars.ts');
  return layerBars(out);
}

/** Plain lines: a state a line, without the many steps of a download. */
function lines(out: OutputStream): ProgressView {
  return {
    show(message) {
      const { current = 0, total = 0 } = message.progressDetail ?? {};
      if (current > 0 || total > 0) return;
      const prefix = message.id ? `${message.id}: ` : '';
      out.write(
        message.stream === undefined ? `${prefix}${message.status ?? ''}\n` : prefix + message.stream,
      );
    },
    [Symbol.dispose]() {},
  };
}
