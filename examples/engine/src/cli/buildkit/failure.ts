/** What went wrong in a build, with the lines of the Dockerfile that it is about. */
import { Code, ConnectError } from '@connectrpc/connect';
import { z } from 'zod';
import { excerpt } from '../../builder/dockerfile/excerpt.ts';
import { CliError } from '../errors.ts';

/** An error of the daemon in words; any other as it is. */
export function toCliError(error: unknown): unknown {
  if (!(error instanceof ConnectError)) return error;
  if (error.code === Code.Canceled) return new CliError('the build was cancelled', { cause: error });
  return new CliError(`${excerptOf(error)}failed to solve: ${error.rawMessage}`, { cause: error });
}

const sourceSchema = z.object({
  info: z.object({ filename: z.string(), data: z.string() }),
  ranges: z.array(z.object({ start: z.object({ line: z.number() }), end: z.object({ line: z.number() }) })),
});

/** The lines that an error is about, when it says so. */
function excerptOf({ details }: ConnectError): string {
  for (const detail of details) {
    if (!('type' in detail) || !String(detail.type).endsWith('errdefs.Source+json')) continue;
    const value = 'value' in detail ? detail.value : undefined;
    if (!(value instanceof Uint8Array)) continue;
    const { data, success } = sourceSchema.safeParse(JSON.parse(Buffer.from(value).toString('utf8')));
    const range = success ? data.ranges[0] : undefined;
    if (!data || !range) continue;
    const text = Buffer.from(data.info.data, 'base64').toString('utf8');
    const lines = text.split('\n').slice(range.start.line - 1, range.end.line);
    return `${excerpt(data.info.filename, text, { line: range.start.line, source: lines.join('\n') })}`;
  }
  return '';
}
