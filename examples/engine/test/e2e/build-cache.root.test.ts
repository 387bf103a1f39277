/** The build cache: what it keeps, counts and gives back. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

/** A part of what `GET /system/df` says. */
interface CacheRecord {
  ID: string;
  Type: string;
  Description: string;
}

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`build cache${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'cache-'));
    const file = join(folder, 'daemon.json');
    await writeFile(file, JSON.stringify({ builder: { gc: { defaultKeepStorage: '700KB' } } }));
    lab = await startLab({ flags: ['--config-file', file] });
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });
  beforeEach(() => lab.ok(['builder', 'prune', '-af']));

  const build = (lines: string): Promise<string> =>
    lab.ok(['build', '-t', 'built', '-'], { input: `FROM ${lab.busybox}\n${lines}\n` });
  const blobs = async (): Promise<string[]> =>
    (await readdir(join(lab.dataRoot, 'layers/content/blobs/sha256'))).sort();
  const records = async (): Promise<CacheRecord[]> =>
    ((await lab.api('GET', '/system/df')).json() as { BuildCache: CacheRecord[] }).BuildCache;
  /** Makes a layer of 200 kB. */
  const layer = (name: string): string => `RUN echo ${name}; head -c 200000 /dev/urandom > /${name}`;

  test('outlives its images, is counted, and gives its space back', async () => {
    const lines = `RUN --mount=type=cache,target=/c head -c 300000 /dev/urandom | tee /c/f > /big`;
    await lab.ok(['pull', lab.busybox]);
    const before = await blobs();
    await build(lines);
    await lab.ok(['rmi', 'built']);
    expect(await build(lines)).toContain('Using cache');
    const shared = await records();
    expect(shared.find(({ Type }) => Type === 'regular')).toMatchObject({ UsageCount: 1, Shared: true });
    await lab.ok(['rmi', 'built']);
    const found = await records();
    expect(found).toHaveLength(2);
    expect(found.find(({ Type }) => Type === 'exec.cachemount')).toMatchObject({ InUse: false });
    expect(found.find(({ Type }) => Type === 'regular')).toMatchObject({ Shared: false, InUse: false });
    expect(await lab.ok(['system', 'df'])).toMatch(/Build Cache +2 +0 +[0-9.]+kB +[0-9.]+kB/);
    expect(await lab.ok(['builder', 'prune', '-f', '--filter', 'until=24h'])).toMatch(/space:\s+0B/);
    expect(await lab.ok(['builder', 'prune', '-af'])).toMatch(/space:\s+[0-9.]+kB/);
    expect(await blobs()).toEqual(before);
    expect(await readdir(join(lab.dataRoot, 'builder/cache'))).toEqual([]);
    expect(await build(lines)).not.toContain('Using cache');
  });

  test('files that a client sent are counted until they are pruned, and then sent again', async () => {
    const context = join(folder, 'context');
    await mkdir(context);
    await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nCOPY large /\n');
    await writeFile(join(context, 'large'), randomBytes(300_000));
    for (const name of ['Dockerfile', 'large']) await utimes(join(context, name), 1, 1);
    const tare = async (): Promise<string> => {
      const { code, stderr } = await lab.tare(['build', '--progress', 'plain', context]);
      expect(code, stderr).toBe(0);
      return stderr;
    };
    const files = async () => (await records()).filter(({ Type }) => Type === 'source.local');
    expect(await tare()).toMatch(/transferring context: 300/);
    expect(await tare()).not.toMatch(/transferring context: 300/);
    expect(await files()).toMatchObject([{ Size: expect.closeTo(300_000, -3), UsageCount: 2, InUse: false }]);
    // what is asked for goes, and nothing else
    await lab.ok(['builder', 'prune', '-af', '--filter', 'type=regular']);
    expect((await records()).map(({ Type }) => Type)).toEqual(['source.local']);
    expect(await tare()).not.toMatch(/transferring context: 300/);
    expect(await lab.ok(['builder', 'prune', '-af', '--filter', 'type=source.local'])).toMatch(
      /space:\s+300/,
    );
    expect(await files()).toEqual([]);
    expect(await tare()).toMatch(/transferring context: 300/);
  });

  test('keeps within its limit, what was used last stays', async () => {
    for (const name of ['a', 'b', 'c', 'a', 'd']) await build(layer(name));
    expect((await records()).map(({ Description }) => /echo (.)/.exec(Description)?.[1])).toEqual([
      'c',
      'a',
      'd',
    ]);
  });

  test('what a build has under way stays', async () => {
    await build(layer('held'));
    const building = build(
      `${layer('held')}\nRUN --mount=type=cache,target=/c touch /c/f; sleep 2; ls /c > /listed`,
    );
    await expect.poll(async () => (await lab.ok(['ps', '-q'])) !== '', { timeout: 10_000 }).toBe(true);
    expect(await lab.ok(['builder', 'prune', '-af'])).toMatch(/space:\s+0B/);
    await building;
    expect(await lab.ok(['run', '--rm', 'built', 'cat', '/listed'])).toBe('f');
  });

  test('the same build again is the same image: nothing is left without a name', async () => {
    const idOf = (name: string): Promise<string> => lab.ok(['image', 'inspect', '-f', '{{.Id}}', name]);
    const lines = `ENV a=b\n${layer('same')}\nWORKDIR /w\nRUN true\nCMD ["x"]`;
    await build(lines);
    const id = await idOf('built');
    const dangling = (): Promise<string> => lab.ok(['images', '-qf', 'dangling=true']);
    const before = await dangling();
    const created = await lab.ok(['image', 'inspect', '-f', '{{.Created}}', 'built']);
    expect(Math.abs(Date.parse(created) - Date.now())).toBeLessThan(60_000);
    for (let i = 0; i < 2; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await build(lines);
      expect(await idOf('built')).toBe(id);
    }
    await lab.restartDaemon('SIGTERM');
    await build(lines);
    expect(await idOf('built')).toBe(id);
    expect(await dangling()).toBe(before);
    await build(`${lines}\nLABEL l=1`);
    expect(await idOf('built')).not.toBe(id);
    await lab.ok(['rmi', '-f', 'built', id]);
    await lab.ok(['builder', 'prune', '-af']);
  });

  test('comes with an image from elsewhere', async () => {
    const lines = `${layer('far')}\n${layer('away')}`;
    const name = `${lab.registry}cached`;
    await build(lines);
    await lab.ok(['tag', 'built', name]);
    await lab.ok(['push', '-q', name]);
    const forget = async (): Promise<void> => {
      await lab.ok(['rmi', '-f', 'built', name]);
      await lab.ok(['builder', 'prune', '-af']);
    };
    await forget();
    expect(await build(lines)).not.toContain('Using cache');
    await forget();
    await lab.ok(['pull', '-q', name]);
    const from = ['build', '--cache-from', name, '-t', 'built', '-'];
    const dockerfile = (text: string) => ({ input: `FROM ${lab.busybox}\n${text}\n` });
    expect((await lab.ok(from, dockerfile(lines))).match(/Using cache/g)).toHaveLength(2);
    // whoever does not name the image does not trust it
    await lab.ok(['builder', 'prune', '-af']);
    expect(await build(lines)).not.toContain('Using cache');
    await lab.ok(['builder', 'prune', '-af']);
    const elsewhere = dockerfile(`RUN echo x > /x\n${lines}`);
    expect(await lab.ok(from, elsewhere)).not.toContain('Using cache');
    await lab.ok(['builder', 'prune', '-af']);
    const tare = await lab.tare(from, dockerfile(layer('far')));
    expect(tare.stderr.match(/CACHED/g), tare.stderr).toHaveLength(1);
    await forget();
  });

  test('is there again after a restart', async () => {
    await build(layer('kept'));
    await lab.ok(['rmi', 'built']);
    await lab.restartDaemon('SIGKILL');
    expect(await build(layer('kept'))).toContain('Using cache');
  });
});
