/** `--output`, `--cache-from` and `--cache-to`: what becomes of a result, and where results come from. */
import { resolve } from 'node:path';
import { UsageError } from '../errors.ts';
import { csvFields, parseAttributes } from './attributes.ts';

/** Where a result goes. */
export interface Output {
  type: string;
  attributes: Record<string, string>;
  /** With `local` a directory, with archives a file; `-` for standard output. */
  destination: string | undefined;
}

/** @throws {UsageError} */
export function parseOutput(text: string, workingDirectory: string): Output {
  const isPath = !text.includes('=') && csvFields(text).length === 1;
  const fields = isPath
    ? new Map([
        ['type', text === '-' ? 'tar' : 'local'],
        ['dest', text],
      ])
    : parseAttributes(text);
  const type = fields.get('type') ?? '';
  const given = fields.get('dest');
  fields.delete('type');
  fields.delete('dest');
  if (type === '') throw new UsageError(`type is required for output: ${text}`);
  const destination = given === undefined || given === '-' ? given : resolve(workingDirectory, given);
  if (type === 'local' && (destination === undefined || destination === '-')) {
    throw new UsageError('dest is required for local output');
  }
  const archive = type === 'tar' || type === 'oci' || type === 'docker';
  if (type === 'registry') {
    return {
      type: 'image',
      attributes: { ...Object.fromEntries(fields), push: 'true' },
      destination: undefined,
    };
  }
  // a docker archive that goes nowhere is an image of the daemon
  if (type === 'docker' && destination === undefined) {
    return { type: 'image', attributes: Object.fromEntries(fields), destination: undefined };
  }
  return {
    type,
    attributes: Object.fromEntries(fields),
    destination: archive ? (destination ?? '-') : destination,
  };
}

/** A cache to read or write. */
export interface CacheEntry {
  type: string;
  attributes: Record<string, string>;
}

/** `type=registry,ref=name`, or a name alone. @throws {UsageError} */
export function parseCache(text: string): CacheEntry {
  if (!text.includes('=')) return { type: 'registry', attributes: { ref: text } };
  const fields = parseAttributes(text);
  const type = fields.get('type') ?? '';
  fields.delete('type');
  if (type === '') throw new UsageError(`type is required for a cache: ${text}`);
  return { type, attributes: Object.fromEntries(fields) };
}
