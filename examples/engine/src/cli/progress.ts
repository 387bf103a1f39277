/** Progress of pulls, pushes, loads and builds: lines off a terminal, one live bar a layer on it, JSON for programs. */
import type { IncomingMessage } from 'node:http';
import type { Cli, OutputStream } from './cli.ts';
import { CliError, UsageError } from './errors.ts';
import type { Flag } from './flags.ts';

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

/** How progress is shown: `auto` draws on terminals and prints lines elsewhere. */
export type ProgressMode = 'auto' | 'tty' | 'plain' | 'json' | 'quiet';

/** `--progress`, the same for every command that shows some. */
export const progressFlag: Flag<ProgressMode> = {
  help: 'Set type of progress output ("auto", "plain", "tty", "json", "quiet")',
  placeholder: 'string',
  initial: 'auto',
  parse(text) {
    const mode = text === 'rawjson' ? 'json' : text;
    if (!['auto', 'tty', 'plain', 'json', 'quiet'].includes(mode)) {
      throw new UsageError('must be one of "auto", "plain", "tty", "json" or "quiet"');
    }
    return mode as ProgressMode;
  },
};

/** Where and how progress is shown. */
export interface ProgressOptions {
  /** Default standard output. */
  out?: OutputStream;
  mode?: ProgressMode;
  /** Receives `aux` objects, which carry results rather than progress. */
  onAux?: (aux: unknown) => void;
}

/**
 * Shows a response's progress until it ends.
 *
 * @throws {CliError} when the daemon reports a failure in it
 */
export async function displayProgress(
  cli: Cli,
  response: IncomingMessage,
  { out = cli.stdout, mode = 'auto', onAux }: ProgressOptions = {},
): Promise<void> {
  using view = await openView(cli, out, mode);
  for await (const message of readProgress(response)) {
    if (message.aux !== undefined) onAux?.(message.aux);
    // results are part of what a program wants to read
    if (message.aux === undefined || mode === 'json') view.show(message);
  }
}

/** Whether lines can be drawn over: a terminal that is more than a typewriter. */
export function canDraw(cli: Cli, out: OutputStream): boolean {
  return out.isTTY === true && cli.environment['TERM'] !== 'dumb';
}

/** Bars are loaded only for a terminal: most pulls of scripts never draw one. */
async function openView(cli: Cli, out: OutputStream, mode: ProgressMode): Promise<ProgressView> {
  if (mode === 'quiet') return { show() {}, [Symbol.dispose]() {} };
  if (mode === 'json') {
    return { show: (message) => void out.write(`${JSON.stringify(message)}\n`), [Symbol.dispose]() {} };
  }
  if (mode === 'plain' || !canDraw(cli, out)) return lines(out);
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
