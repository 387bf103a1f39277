/** Archives that are no layers, unpacked into trees that are there: base, owners, what may be replaced. Needs root. */
import {
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, test } from 'vitest';
import { extractTar, type ApplyOptions } from '../../src/index.ts';
import { TarBuilder } from '../../src/testing/index.ts';
import { isRoot, native, needsRoot, once, Place } from './unpack.ts';

const tar = () => new TarBuilder();
const extract = (place: Place, archive: TarBuilder, options: Partial<ApplyOptions> = {}) =>
  extractTar(once(archive.build()), place.root, { ...native, ...options });

describe.skipIf(!isRoot)(`extractTar${isRoot ? '' : ` (skipped: ${needsRoot})`}`, () => {
  test('goes to the base, through links that stay inside of the root', async () => {
    using place = new Place();
    mkdirSync(place.path('real/dir'), { recursive: true });
    symlinkSync('/real', place.path('link'));
    await extract(place, tar().file('a/b', 'x'), { base: 'link/dir' });
    expect(readFileSync(place.path('real/dir/a/b'), 'utf8')).toBe('x');
    // as old as it is, where a layer would say 1970
    expect(lstatSync(place.path('real/dir/a')).mtimeMs).toBeGreaterThan(Date.now() - 60_000);
    await expect(extract(place, tar(), { base: 'nowhere' })).resolves.toBeDefined();
    await expect(extract(place, tar().file('x'), { base: '../victim' })).rejects.toMatchObject({
      code: 'UNSAFE_ENTRY',
    });
    place.checkVictim();
  });

  test('follows a link that points out of the root back into it, and makes nothing outside', async () => {
    using place = new Place();
    symlinkSync(place.victim, place.path('out'));
    symlinkSync('../../../../..', place.path('up'));
    await extract(place, tar().file('out/a', 'x').file('up/b', 'y'));
    expect(readFileSync(place.path('b'), 'utf8')).toBe('y');
    place.checkVictim();
  });

  test('takes names of whiteouts as names', async () => {
    using place = new Place();
    writeFileSync(place.path('kept'), 'kept');
    await extract(place, tar().file('.wh.kept').file('d/.wh..wh..opq'));
    expect(readdirSync(place.root).sort()).toEqual(['.wh.kept', 'd', 'kept']);
    expect(readdirSync(place.path('d'))).toEqual(['.wh..wh..opq']);
  });

  test('merges directories, replaces the rest, and gives everything the owner it is told', async () => {
    using place = new Place();
    mkdirSync(place.path('dir'));
    writeFileSync(place.path('dir/kept'), '');
    writeFileSync(place.path('dir/old'), 'old');
    symlinkSync('kept', place.path('dir/link'));
    const members = tar()
      .directory('./', { mode: 0o700 })
      .directory('dir/', { mode: 0o750 })
      .file('dir/old', 'new', { uid: 7 })
      .file('dir/link', 'file')
      .symlink('dir/new', 'x')
      .hardlink('dir/hard', 'dir/old');
    await extract(place, members, { owner: { uid: 5, gid: 6 } });
    expect(readdirSync(place.path('dir')).sort()).toEqual(['hard', 'kept', 'link', 'new', 'old']);
    expect(readFileSync(place.path('dir/old'), 'utf8')).toBe('new');
    expect(readFileSync(place.path('dir/kept'), 'utf8')).toBe('');
    expect(readFileSync(place.path('dir/link'), 'utf8')).toBe('file');
    expect(readlinkSync(place.path('dir/new'))).toBe('x');
    for (const name of ['dir', 'dir/old', 'dir/new', 'dir/link']) {
      expect(lstatSync(place.path(name)), name).toMatchObject({ uid: 5, gid: 6 });
    }
    expect(lstatSync(place.path('dir/old')).nlink).toBe(2);
    expect(lstatSync(place.path('dir')).mode & 0o7777).toBe(0o750);
    // the place itself is the caller's
    expect(lstatSync(place.root).mode & 0o7777).not.toBe(0o700);
  });

  test('with same-kind, a directory and anything else do not replace each other', async () => {
    using place = new Place();
    mkdirSync(place.path('dir/full'), { recursive: true });
    writeFileSync(place.path('file'), '');
    for (const member of [tar().file('dir'), tar().symlink('dir', 'x'), tar().directory('file')]) {
      await expect(extract(place, member, { replace: 'same-kind' })).rejects.toMatchObject({
        code: 'ALREADY_EXISTS',
        message: expect.stringMatching(/cannot overwrite (directory|non-directory)/),
      });
    }
    expect(readdirSync(place.root).sort()).toEqual(['dir', 'file']);
    await extract(place, tar().symlink('file', 'x'), { replace: 'same-kind' });
    expect(readlinkSync(place.path('file'))).toBe('x');
  });
});
