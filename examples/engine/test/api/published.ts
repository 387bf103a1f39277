/** The fields of Docker's published replies: `fields-<version>.tsv`, taken from the types of its source. */
import { readFileSync } from 'node:fs';

/** One field of one reply, or of a part of one. */
export interface PublishedField {
  field: string;
  /** `[x]` is a list, `{x}` a map; `|null` where an empty one may be null. */
  type: string;
  /** `omit`: left out when it is empty. */
  presence: 'always' | 'omit';
}

/** The fields by the name of the schema that describes them. */
export function published(version: string): Map<string, PublishedField[]> {
  const lists = new Map<string, PublishedField[]>();
  const text = readFileSync(new URL(`fields-${version}.tsv`, import.meta.url), 'utf8');
  for (const line of text.trimEnd().split('\n')) {
    const [schema = '', field = '', type = '', presence = ''] = line.split('\t');
    const list = lists.get(schema) ?? [];
    list.push({ field, type, presence: presence as PublishedField['presence'] });
    lists.set(schema, list);
  }
  return lists;
}

const cache = new Map<string, Map<string, PublishedField[]>>();

/** Versions whose lists are here. */
export const PUBLISHED_VERSIONS = ['1.41', '1.45', '1.51'];

/** Fields that dockerd itself no longer sends, whatever the client's version: they belong to what it has dropped. */
const GONE = new Set(['systemInfo.SystemStatus', 'hostConfig.KernelMemory', 'hostConfig.KernelMemoryTCP']);

/**
 * What a client of `version` misses in `value`, or finds of another type; fields of newer versions may be there.
 *
 * @param type - as in the lists
 */
export function missesOf(version: string, type: string, value: unknown, path = ''): string[] {
  let lists = cache.get(version);
  if (!lists) cache.set(version, (lists = published(version)));
  const at = path === '' ? '(the reply)' : path;
  if (type.endsWith('|null')) return value === null ? [] : missesOf(version, type.slice(0, -5), value, path);
  const wrong = [`${at}: ${JSON.stringify(value)?.slice(0, 80)} is no ${type}`];
  if (type.startsWith('[')) {
    if (!Array.isArray(value)) return wrong;
    return value.flatMap((item, index) => missesOf(version, type.slice(1, -1), item, `${path}.${index}`));
  }
  if (type.startsWith('{')) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return wrong;
    const inner = type.slice(1, -1);
    if (inner === '') return [];
    return Object.entries(value).flatMap(([key, item]) => missesOf(version, inner, item, `${path}.${key}`));
  }
  const fields = lists.get(type);
  if (!fields) return plain(type, value) ? [] : wrong;
  if (typeof value !== 'object' || value === null) return wrong;
  return fields.flatMap(({ field, type: inner, presence }) => {
    const place = path === '' ? field : `${path}.${field}`;
    if (Object.hasOwn(value, field))
      return missesOf(version, inner, (value as Record<string, unknown>)[field], place);
    return presence === 'omit' || GONE.has(`${type}.${field}`) ? [] : [`${place} is missing`];
  });
}

function plain(type: string, value: unknown): boolean {
  switch (type) {
    case 'string':
    case 'time':
      return typeof value === 'string';
    case 'int':
      return typeof value === 'bigint' || Number.isInteger(value);
    case 'number':
      return typeof value === 'number';
    case 'bool':
      return typeof value === 'boolean';
    default:
      return true;
  }
}
