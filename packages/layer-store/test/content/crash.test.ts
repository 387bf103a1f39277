/** What the content store shows after its process was killed, wherever that happened. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openFileContent } from '../../src/index.ts';
import { crashBlobs } from './crash-writer.ts';

const full = process.env.TARE_TEST_FULL === '1';
const ROUNDS = full ? 100 : 4;

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-crash-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

test(
  `shows whole blobs only, after being killed at ${ROUNDS} random moments`,
  { timeout: full ? 600_000 : 60_000 },
  async () => {
    const known = new Map(crashBlobs().map(({ descriptor }) => [descriptor.digest, descriptor]));
    for (let round = 0; round < ROUNDS; round++) {
      const child = spawn(
        process.execPath,
        ['--conditions=@tare/source', join(import.meta.dirname, 'crash-writer.ts'), root],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      await once(child.stdout, 'data');
      await setTimeout(Math.random() * 250);
      child.kill('SIGKILL');
      await once(child, 'exit');

      const store = await openFileContent(root);
      for await (const { digest } of store.list()) {
        // reading to the end checks size and digest
        for await (const _ of await store.fetch(known.get(digest)!)) continue;
      }
      const left = await readdir(join(root, 'ingest'));
      expect(left.filter((name) => !/^partial\.sha256-[0-9a-f]{64}$/.test(name))).toEqual([]);
    }
    // and what was begun is finished by the next, from wherever it stood
    const store = await openFileContent(root);
    for (const { descriptor, bytes } of crashBlobs()) {
      await store.pushFrom(descriptor, async (offset) =>
        (async function* () {
          yield bytes.subarray(offset);
        })(),
      );
      for await (const _ of await store.fetch(descriptor)) continue;
    }
    expect(await readdir(join(root, 'ingest'))).toEqual([]);
  },
);
