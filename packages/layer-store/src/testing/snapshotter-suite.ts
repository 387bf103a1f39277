/**
 * What every snapshotter must do. Run it over your own:
 *
 * ```ts
 * import { describe, it } from 'vitest'; // or node:test
 * import { snapshotterSuite } from '@tare/layer-store/testing';
 * snapshotterSuite({ describe, it }, 'my snapshotter', async () => new MySnapshotter(), { write, read });
 * ```
 */
import { ContainerError } from '@tare/image-spec';
import type { Mount } from '../snapshot/mount.ts';
import type { Snapshotter } from '../snapshot/snapshotter.ts';
import { TarReader } from '../tar/read.ts';

/** The two functions needed of a test framework; vitest, jest, mocha and node:test have them. */
export interface TestFramework {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void>): unknown;
}

/** Makes an empty snapshotter. When it is AsyncDisposable it is disposed of after the test. */
export type SnapshotterFactory = () => Promise<Snapshotter & Partial<AsyncDisposable>>;

/** Reaches into a mounted snapshot, by whatever means the mounts need. */
export interface SnapshotContent {
  /** Runs a shell script with the file system that `mounts` make as its working directory; returns what it printed. */
  run(mounts: Mount[], script: string): Promise<string>;
}

/**
 * Registers the conformance tests of {@link "../snapshot/snapshotter".Snapshotter} under `name`. Without `content`,
 * which needs the privilege to mount, only those that look at no file.
 */
export function snapshotterSuite(
  { describe, it }: TestFramework,
  name: string,
  create: SnapshotterFactory,
  content?: SnapshotContent,
): void {
  function test(sentence: string, body: (snapshots: Snapshotter) => Promise<void>): void {
    it(sentence, async () => {
      const snapshots = await create();
      try {
        await body(snapshots);
      } finally {
        await snapshots[Symbol.asyncDispose]?.();
      }
    });
  }

  describe(`${name} as a snapshotter`, () => {
    test('knows nothing at first', async (snapshots) => {
      equal(await snapshots.stat('none'), undefined);
      equal(JSON.stringify(await Array.fromAsync(snapshots.list())), '[]');
      await snapshots.remove('none');
    });

    test('prepares an active snapshot on nothing, and knows it', async (snapshots) => {
      const mounts = await snapshots.prepare('active', undefined);
      equal(mounts.length > 0, true);
      equal(JSON.stringify(await snapshots.mounts('active')), JSON.stringify(mounts));
      const info = await snapshots.stat('active');
      equal(info?.name, 'active');
      equal(info?.kind, 'active');
      equal(info?.parent, undefined);
      equal(info?.createdAt instanceof Date, true);
    });

    test('commits an active snapshot, whose key is free again', async (snapshots) => {
      await chain(snapshots, 'one');
      equal((await snapshots.stat('one'))?.kind, 'committed');
      equal(await snapshots.stat('key of one'), undefined);
      await snapshots.prepare('key of one', 'one');
      equal((await snapshots.stat('key of one'))?.parent, 'one');
    });

    test('refuses a taken key or name', async (snapshots) => {
      await chain(snapshots, 'one');
      await snapshots.prepare('active', 'one');
      await rejectsWith('ALREADY_EXISTS', () => snapshots.prepare('active', 'one'));
      await rejectsWith('ALREADY_EXISTS', () => snapshots.view('active', undefined));
      await rejectsWith('ALREADY_EXISTS', () => snapshots.prepare('one', undefined));
      await rejectsWith('ALREADY_EXISTS', () => snapshots.commit('one', 'active'));
      equal((await snapshots.stat('active'))?.kind, 'active');
    });

    test('of several that want one key at the same time, one gets it', async (snapshots) => {
      const outcomes = await Promise.allSettled(
        Array.from({ length: 5 }, () => snapshots.prepare('wanted', undefined)),
      );
      equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
      equal((await Array.fromAsync(snapshots.list())).length, 1);
    });

    test('refuses a parent that is not committed', async (snapshots) => {
      await snapshots.prepare('active', undefined);
      await rejectsWith('NOT_FOUND', () => snapshots.prepare('a', 'missing'));
      await rejectsWith('NOT_FOUND', () => snapshots.prepare('a', 'active'));
      await rejectsWith('NOT_FOUND', () => snapshots.view('a', 'missing'));
      equal(await snapshots.stat('a'), undefined);
    });

    test('has no mounts, usage or commit for what is not there', async (snapshots) => {
      await chain(snapshots, 'one');
      await snapshots.view('view', 'one');
      await rejectsWith('NOT_FOUND', () => snapshots.mounts('missing'));
      await rejectsWith('NOT_FOUND', () => snapshots.mounts('one'));
      await rejectsWith('NOT_FOUND', () => snapshots.usage('missing'));
      await rejectsWith('NOT_FOUND', () => snapshots.commit('two', 'missing'));
      await rejectsWith('NOT_FOUND', () => snapshots.commit('two', 'view'));
      await rejectsWith('NOT_FOUND', () => snapshots.commit('two', 'one'));
    });

    test('removes, but never a parent', async (snapshots) => {
      await chain(snapshots, 'one', 'two');
      await snapshots.prepare('active', 'two');
      await rejectsWith('IN_USE', () => snapshots.remove('one'));
      await rejectsWith('IN_USE', () => snapshots.remove('two'));
      await snapshots.remove('active');
      await snapshots.remove('active');
      await snapshots.remove('two');
      await snapshots.remove('one');
      equal((await Array.fromAsync(snapshots.list())).length, 0);
    });

    test('lists parents before children', async (snapshots) => {
      await chain(snapshots, 'z', 'y', 'x');
      await snapshots.prepare('a', 'y');
      await snapshots.view('b', 'x');
      const seen = new Set<string>();
      for await (const { name, parent } of snapshots.list()) {
        if (parent !== undefined) equal(seen.has(parent), true);
        seen.add(name);
      }
      equal([...seen].sort().join(), 'a,b,x,y,z');
    });

    test('takes any text as a key', async (snapshots) => {
      for (const key of ['a/b', '..', 'sha256:00', 'ü n ï', '%2e', 'a.json']) {
        await snapshots.prepare(key, undefined);
        equal((await snapshots.stat(key))?.name, key);
      }
    });

    test('rejects with the reason of an aborted signal', async (snapshots) => {
      const reason = new Error('enough');
      const options = { signal: AbortSignal.abort(reason) };
      equal(await rejection(() => snapshots.prepare('a', undefined, options)), reason);
      equal(await rejection(() => snapshots.remove('a', options)), reason);
      equal(await snapshots.stat('a'), undefined);
    });

    test('has no changes and no layer of what is not there', async (snapshots) => {
      await rejectsWith('NOT_FOUND', () => Array.fromAsync(snapshots.changes('missing')));
      await rejectsWith('NOT_FOUND', () => Array.fromAsync(snapshots.diff('missing')));
      await snapshots.prepare('empty', undefined);
      equal((await Array.fromAsync(snapshots.changes('empty'))).length, 0);
      equal((await members(snapshots.diff('empty'))).join(), '');
    });

    if (content === undefined) return;

    test('tells what was changed, as a list and as a layer, before and after the commit', async (snapshots) => {
      const base =
        'mkdir -p kept/deep gone again; echo x > kept/deep/old; echo x > gone/x; echo x > again/x; echo x > file; echo x > same';
      await content.run(await snapshots.prepare('base', undefined), base);
      await snapshots.commit('one', 'base');
      const change =
        'echo y > file; rm -r gone again; mkdir again; echo y > again/y; rm kept/deep/old; mkdir new; echo y > new/y; ln file link';
      await content.run(await snapshots.prepare('next', 'one'), change);
      const changes =
        'modify again,delete again/x,add again/y,modify file,delete gone,modify kept,modify kept/deep,delete kept/deep/old,add link,add new,add new/y';
      const list = async (name: string): Promise<string> =>
        (await Array.fromAsync(snapshots.changes(name))).map(({ kind, path }) => `${kind} ${path}`).join();
      const layer =
        '.wh.gone,again/,again/.wh..wh..opq,again/y,file,kept/,kept/deep/,kept/deep/.wh.old,link -> file,new/,new/y';
      equal(await list('next'), changes);
      equal(await layerOf(snapshots.diff('next')), layer);
      await snapshots.commit('two', 'next');
      equal(await list('two'), changes);
      equal(await layerOf(snapshots.diff('two')), layer);
    });

    test('gives the whole file system that it shows as an archive', async (snapshots) => {
      const base =
        'mkdir -p both only gone again link; echo x > both/old; echo x > both/same; echo x > only/x; echo x > gone/x; echo x > again/x; ln both/same both/twin';
      await content.run(await snapshots.prepare('base', undefined), base);
      await snapshots.commit('one', 'base');
      const change =
        'rm both/old; echo y > both/new; rm -r gone again link; mkdir again; echo y > again/y; ln -s both link; chmod 1711 .';
      await content.run(await snapshots.prepare('next', 'one'), change);
      const whole = './,again/,again/y,both/,both/new,both/same,both/twin -> both/same,link,only/,only/x';
      equal((await members(snapshots.flatten('next'))).join(), whole);
      await snapshots.commit('two', 'next');
      equal((await members(snapshots.flatten('two'))).join(), whole);
      equal(
        (await members(snapshots.flatten('one'))).join(),
        './,again/,again/x,both/,both/old,both/same,both/twin -> both/same,gone/,gone/x,link/,only/,only/x',
      );
      await rejectsWith('NOT_FOUND', () => Array.fromAsync(snapshots.flatten('missing')));
    });

    test('shows the files of its parents, and keeps what is written apart', async (snapshots) => {
      await content.run(
        await snapshots.prepare('base', undefined),
        'echo one > file; mkdir dir; echo x > dir/x',
      );
      await snapshots.commit('one', 'base');
      await content.run(await snapshots.prepare('next', 'one'), 'echo two > file; rm -r dir; echo y > new');
      await snapshots.commit('two', 'next');
      const read = 'cat file; ls -A | tr "\\n" " "';
      equal(await content.run(await snapshots.view('view one', 'one'), read), 'one\ndir file ');
      equal(await content.run(await snapshots.view('view two', 'two'), read), 'two\nfile new ');
      const first = await snapshots.prepare('first', 'two');
      const second = await snapshots.prepare('second', 'two');
      await content.run(first, 'echo mine > file');
      equal(await content.run(second, 'cat file'), 'two\n');
      equal(await content.run(await snapshots.mounts('first'), 'cat file'), 'mine\n');
    });

    test('a directory that is removed and made again hides what it held', async (snapshots) => {
      await content.run(await snapshots.prepare('base', undefined), 'mkdir dir; echo x > dir/x');
      await snapshots.commit('one', 'base');
      await content.run(await snapshots.prepare('next', 'one'), 'rm -r dir; mkdir dir; echo y > dir/y');
      await snapshots.commit('two', 'next');
      equal(await content.run(await snapshots.view('v', 'two'), 'ls dir'), 'y\n');
    });

    test('a view cannot be written', async (snapshots) => {
      await content.run(await snapshots.prepare('base', undefined), 'echo one > file');
      await snapshots.commit('one', 'base');
      await chain(snapshots, 'two');
      for (const parent of ['one', undefined]) {
        const mounts = await snapshots.view(`view of ${parent}`, parent);
        equal(await content.run(mounts, 'echo two > other 2>/dev/null || echo refused'), 'refused\n');
      }
    });

    test('an active one can be looked at beside its mount, and not be written', async (snapshots) => {
      await content.run(await snapshots.prepare('base', undefined), 'echo one > file; echo x > gone');
      await snapshots.commit('one', 'base');
      for (const parent of ['one', undefined]) {
        const key = `on ${parent}`;
        await content.run(await snapshots.prepare(key, parent), 'echo two > file; rm -f gone');
        const look = await snapshots.mounts(key, { readOnly: true });
        const script = 'cat file; ls; echo three 2>/dev/null > file || echo refused';
        equal(await content.run(look, script), 'two\nfile\nrefused\n');
        equal(await content.run(await snapshots.mounts(key), 'cat file'), 'two\n');
      }
    });

    test('the root has the mode and owner that the parent gave it', async (snapshots) => {
      equal(await content.run(await snapshots.prepare('a', undefined), 'stat -c %a:%u:%g .'), '755:0:0\n');
      await content.run(await snapshots.prepare('base', undefined), 'chmod 1711 .; chown 5:6 .');
      await snapshots.commit('one', 'base');
      equal(await content.run(await snapshots.prepare('b', 'one'), 'stat -c %a:%u:%g .'), '1711:5:6\n');
    });

    test('counts what was written, and nothing of the parents', async (snapshots) => {
      await content.run(
        await snapshots.prepare('base', undefined),
        'head -c 100000 /dev/zero > file; ln file again',
      );
      const before = await snapshots.usage('base');
      equal(before.sizeBytes >= 100_000 && before.sizeBytes < 150_000, true);
      await snapshots.commit('one', 'base');
      equal((await snapshots.usage('one')).sizeBytes, before.sizeBytes);
      const mounts = await snapshots.prepare('next', 'one');
      equal((await snapshots.usage('next')).sizeBytes < 5_000, true);
      await content.run(mounts, 'head -c 10000 /dev/zero > other');
      const after = await snapshots.usage('next');
      equal(after.sizeBytes >= 10_000 && after.sizeBytes < 50_000, true);
    });
  });
}

/** Commits empty layers one upon the other. */
async function chain(snapshots: Snapshotter, ...names: string[]): Promise<void> {
  let parent: string | undefined;
  for (const name of names) {
    await snapshots.prepare(`key of ${name}`, parent);
    await snapshots.commit(name, `key of ${name}`);
    parent = name;
  }
}

/** The names in a layer, sorted; what a directory that was made anew hid is told at once, however the layer does it. */
async function layerOf(archive: AsyncIterable<Uint8Array>): Promise<string> {
  const names = await members(archive);
  return names
    .map((name) => (name === 'again/.wh.x' ? 'again/.wh..wh..opq' : name))
    .sort()
    .join();
}

/** The names in an archive; of hard links also where they lead. */
async function members(archive: AsyncIterable<Uint8Array>): Promise<string[]> {
  const names: string[] = [];
  const reader = new TarReader({
    entry: ({ name, type, linkName }) => names.push(type === 'hardlink' ? `${name} -> ${linkName}` : name),
    data: () => undefined,
    entryEnd: () => undefined,
  });
  for await (const chunk of archive) reader.write(chunk);
  reader.end();
  return names;
}

function equal(actual: unknown, expected: unknown): void {
  if (!Object.is(actual, expected)) {
    throw new Error(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  }
}

async function rejection(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('expected a rejection, but it succeeded');
}

async function rejectsWith(code: string, work: () => Promise<unknown>): Promise<void> {
  const error = await rejection(work);
  if (!ContainerError.is(error)) throw new Error(`expected ${code}, got ${String(error)}`, { cause: error });
  if (error.code !== code) throw new Error(`expected ${code}, got ${error.code}`, { cause: error });
}
