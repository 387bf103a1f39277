import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { uploadJournal, type RepositoryOptions, type TransferEvent } from '../src/index.ts';
import { answer, startTestRegistry, type TestRegistry } from '../src/testing/index.ts';
import { hasDebianRegistry, startDebian } from './debian.ts';
import { chunks, collect, describeBytes, noise, quickClient } from './support.ts';

let journal: string;
beforeEach(async () => {
  journal = join(await mkdtemp(join(tmpdir(), 'tare-uploads-')), 'journal');
});
afterEach(() => rm(join(journal, '..'), { recursive: true, force: true }));

const bytes = noise(200_000);
const descriptor = describeBytes(bytes);
const open = async (offset: number) => chunks(bytes.subarray(offset));
const options = (): RepositoryOptions => ({ chunkBytes: 65_536, uploads: uploadJournal(journal) });
const files = async (): Promise<string[]> => readdir(journal).catch(() => []);

/** Runs a process that pushes; it dies once it said `until`. @returns what it said */
async function push(repository: string, size: number, until?: string): Promise<string[]> {
  const program = join(import.meta.dirname, 'push-process.ts');
  const args = [
    '--conditions=@tare/source',
    program,
    repository,
    journal,
    String(size),
    '65536',
    ...(until ? [until] : []),
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) said.push(line);
  const [code, signal] = (await ended) as [number | null, string | null];
  expect(signal ?? code).toBe(until === undefined ? 0 : 'SIGKILL');
  return said;
}

test('another process sends what the one that was killed had not', async () => {
  await using registry = await startTestRegistry();
  const repository = `${registry.host}/app`;
  expect(await push(repository, 200_000, 'progress 131072')).toContain('start 0');
  expect((await files()).length).toBe(1);
  expect((await stat(join(journal, (await files())[0]!))).mode & 0o777).toBe(0o600);
  const before = registry.requests.length;
  expect(await push(repository, 200_000)).toEqual([
    'start 131072',
    'progress 196608',
    'progress 200000',
    'done 200000',
  ]);
  expect(registry.blobs.get(descriptor.digest)).toEqual(bytes);
  const ranges = registry.requests.slice(before).filter(({ method }) => method === 'PATCH');
  expect(ranges.map(({ headers }) => headers['content-range'])).toEqual(['131072-196607', '196608-199999']);
  expect(await files()).toEqual([]);
});

/** One that gives up after its first chunk. */
async function pushFirstChunk(registry: TestRegistry): Promise<void> {
  await using client = quickClient();
  registry.intercept(/^PATCH/, (_request, _response, serve) => serve());
  registry.intercept(/^PATCH/, answer(503), 5);
  const repository = client.repository(`${registry.host}/app`, options());
  await expect(repository.pushFrom(descriptor, open)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(registry.log().some((line) => line.startsWith('DELETE'))).toBe(false);
  expect((await files()).length).toBe(1);
}

test('a push that failed goes on with the next call, whatever opens the content', async () => {
  await using registry = await startTestRegistry();
  await pushFirstChunk(registry);
  await using client = quickClient();
  const events: TransferEvent[] = [];
  const onTransfer = (event: TransferEvent) => void events.push(event);
  await client
    .repository(`${registry.host}/app`, { ...options(), onTransfer })
    .push(descriptor, chunks(bytes));
  expect(events[0]).toMatchObject({ kind: 'start', transferredBytes: 65_536 });
  expect(registry.blobs.get(descriptor.digest)).toEqual(bytes);
  expect(registry.log().filter((line) => line.startsWith('POST')).length).toBe(1);
  expect(await files()).toEqual([]);
});

test.each([
  ['has forgotten', (registry: TestRegistry) => registry.intercept(/^GET .*uploads/, answer(404))],
  [
    'says has more than there is',
    (registry: TestRegistry) => registry.intercept(/^GET .*uploads/, answer(204, { range: '0-200000' })),
  ],
  ['is told of in a damaged file', async () => writeFile(join(journal, (await files())[0]!), '{')],
])('an upload that the registry %s begins anew', async (_, spoil) => {
  await using registry = await startTestRegistry();
  await pushFirstChunk(registry);
  await spoil(registry);
  await using client = quickClient();
  await client.repository(`${registry.host}/app`, options()).pushFrom(descriptor, open);
  expect(registry.blobs.get(descriptor.digest)).toEqual(bytes);
  expect(registry.log().filter((line) => line.startsWith('POST')).length).toBe(2);
  expect(await files()).toEqual([]);
});

const debian = await hasDebianRegistry();
test.skipIf(!debian)("Debian's docker-registry keeps what a killed process sent to it", async () => {
  await using registry = await startDebian();
  await push(`${registry.host}/app`, 1_000_000, 'progress 196608');
  const said = await push(`${registry.host}/app`, 1_000_000);
  expect(Number(/^start (\d+)/.exec(said[0]!)![1])).toBeGreaterThanOrEqual(196_608);
  expect(said.at(-1)).toBe('done 1000000');
  await using client = quickClient();
  const blob = await client.repository(`${registry.host}/app`).fetch(describeBytes(noise(1_000_000)));
  expect(await collect(blob)).toEqual(noise(1_000_000));
});

test('an upload goes on in the repository that it was for', async () => {
  await using registry = await startTestRegistry();
  await pushFirstChunk(registry);
  await using client = quickClient();
  await client.repository(`${registry.host}/other`, options()).pushFrom(descriptor, open);
  expect(registry.log().filter((line) => line.startsWith('POST')).length).toBe(2);
  expect((await files()).length).toBe(1);
});

test('content that is wrong is cancelled and not gone on with', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const repository = client.repository(`${registry.host}/app`, options());
  const wrong = Buffer.from(bytes).fill(0, 199_999);
  await expect(repository.push(descriptor, chunks(wrong))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  expect(registry.log().at(-1)).toMatch(/^DELETE /);
  expect(await files()).toEqual([]);
});

test('what nobody went on with for a week is removed, and nothing else', async () => {
  await uploadJournal(journal).set('old', 'http://127.0.0.1/old');
  const [old] = await files();
  await utimes(join(journal, old!), 0, 0);
  await writeFile(join(journal, 'notes.txt'), '');
  await utimes(join(journal, 'notes.txt'), 0, 0);
  const again = uploadJournal(journal);
  await again.set('new', 'http://127.0.0.1/new');
  expect(await again.get('old')).toBeUndefined();
  expect(await again.get('new')).toBe('http://127.0.0.1/new');
  expect(await files()).toContain('notes.txt');
});
