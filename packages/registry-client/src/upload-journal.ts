/** What is known of uploads that are not finished, kept so that another process can go on with them. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** Remembers where uploads go on. Registries forget an upload after some days: what is remembered may be of no use. */
export interface UploadJournal {
  /** The URL where the upload `key` goes on; undefined when none is known. */
  get(key: string): Promise<string | undefined>;
  /** Called after every chunk. The URL lets whoever has it write to that one upload. */
  set(key: string, url: string): Promise<void>;
  delete(key: string): Promise<void>;
}

/** Registries that clear up give uploads a week. In milliseconds. */
const MAX_AGE_MS = 7 * 24 * 60 * 60 * 1000;
const entrySchema = z.object({ key: z.string(), url: z.string() });

/**
 * A journal in a directory, which is made when it is not there: a file for each upload, readable by its owner alone. What is
 * older than a week is removed. Any number of processes may share it, as long as they do not push one blob at one time.
 */
export function uploadJournal(directory: string): UploadJournal {
  const pathOf = (key: string): string =>
    join(directory, `${createHash('sha256').update(key).digest('hex')}.json`);
  let swept: Promise<void> | undefined;
  return {
    async get(key) {
      const text = await ifThere(readFile(pathOf(key), 'utf8'));
      const entry = text === undefined ? undefined : entrySchema.safeParse(parseJson(text));
      return entry?.data?.key === key ? entry.data.url : undefined;
    },
    async set(key, url) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await (swept ??= sweep(directory));
      const temporary = join(directory, `${randomBytes(8).toString('hex')}.tmp`);
      try {
        await writeFile(temporary, JSON.stringify({ key, url }), { mode: 0o600, flag: 'wx' });
        await rename(temporary, pathOf(key));
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
    },
    delete: (key) => rm(pathOf(key), { force: true }),
  };
}

/** Removes what nobody will go on with, and files that a crash left half written. */
async function sweep(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!/^[0-9a-f]+\.(?:json|tmp)$/.test(name)) continue;
    const path = join(directory, name);
    const age = Date.now() - ((await ifThere(stat(path)))?.mtimeMs ?? Date.now());
    if (age > MAX_AGE_MS) await rm(path, { force: true });
  }
}

async function ifThere<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A file that is no JSON is as good as none: the upload begins anew. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
