/** `KEY=VALUE` lists: environment, labels, options, and the files that hold them. */
import { readFileSync } from 'node:fs';
import { CliError, UsageError, openError } from '../errors.ts';

/** Variables the client's own environment fills in for `-e NAME`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Checks one `-e` value.
 *
 * @throws {UsageError} for a value without a name
 */
export function requireVariableName(text: string): string {
  if (text.startsWith('=') || text === '') throw new UsageError(`invalid environment variable: ${text}`);
  return text;
}

/**
 * One `-e` value: `NAME=value` stays, `NAME` takes the client's value. A name the client has no value for is kept, and
 * removes the variable from the image's environment.
 */
export function expandVariable(text: string, environment: Environment): string {
  const own = text.includes('=') ? undefined : environment[text];
  return own === undefined ? text : `${text}=${own}`;
}

/**
 * The entries of an `--env-file` or `--label-file`: blank lines and `#` comments are skipped, leading white space is
 * dropped.
 *
 * @param environment fills in names without a value; those it does not know are dropped. Without it they are kept.
 * @throws {CliError} when the file cannot be read, is no UTF-8 text or has a malformed line
 */
export function readKeyValueFile(path: string, environment?: Environment): string[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new CliError(openError(path, cause), { cause });
  }
  const entries: string[] = [];
  for (const line of decodeUtf8(bytes, path).split(/\r?\n/)) {
    const entry = line.trimStart();
    if (entry === '' || entry.startsWith('#')) continue;
    const name = entry.split('=', 1)[0]!;
    if (name === '') throw new UsageError(`invalid env file (${path}): no variable name on line '${entry}'`);
    if (/\s/.test(name))
      throw new UsageError(`invalid env file (${path}): variable '${name}' contains whitespaces`);
    if (entry.includes('=') || !environment) entries.push(entry);
    else if (environment[name] !== undefined) entries.push(`${name}=${environment[name]}`);
  }
  return entries;
}

function decodeUtf8(bytes: Buffer, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CliError(`invalid env file (${path}): it is not UTF-8 text`, { cause });
  }
}

/** Later entries win; a key without `=` maps to the empty string. */
export function keyValueMap(values: readonly string[]): Record<string, string> {
  return Object.fromEntries(values.map(splitPair));
}

/** Splits at the first `=`. */
export function splitPair(entry: string): [key: string, value: string] {
  const at = entry.indexOf('=');
  return at === -1 ? [entry, ''] : [entry.slice(0, at), entry.slice(at + 1)];
}
