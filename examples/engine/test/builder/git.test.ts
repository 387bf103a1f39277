import * as fc from 'fast-check';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkoutGit, parseGitReference } from '../../src/builder/git.ts';

describe('the address of a repository', () => {
  const whole = { ref: undefined, subdirectory: undefined };
  it.each([
    ['https://host/x.git', { ...whole, remote: 'https://host/x.git' }],
    ['https://host/x.git#main', { ...whole, remote: 'https://host/x.git', ref: 'main' }],
    [
      'https://host/x.git#main:sub/dir',
      { remote: 'https://host/x.git', ref: 'main', subdirectory: 'sub/dir' },
    ],
    ['https://host/x.git#:sub', { ...whole, remote: 'https://host/x.git', subdirectory: 'sub' }],
    [
      'https://host/x.git?ref=v1&subdir=sub',
      { remote: 'https://host/x.git', ref: 'v1', subdirectory: 'sub' },
    ],
    ['https://host/x.git?tag=v1', { ...whole, remote: 'https://host/x.git', ref: 'v1' }],
    ['git://host/x', { ...whole, remote: 'git://host/x' }],
    ['ssh://git@host/x#b', { ...whole, remote: 'ssh://git@host/x', ref: 'b' }],
    ['git@host:x/y.git', { ...whole, remote: 'git@host:x/y.git' }],
    ['github.com/x/y#b', { ...whole, remote: 'https://github.com/x/y', ref: 'b' }],
  ])('%s', (text, reference) => {
    expect(parseGitReference(text)).toEqual(reference);
  });

  it.each([
    '',
    '-',
    'x.git',
    './x.git',
    'https://host/x.tar',
    'https://host/x.git/y.tar',
    'client-session',
    'a:b',
  ])('%j is something else', (text) => expect(parseGitReference(text)).toBeUndefined());

  it('is read, whatever it says', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (ref, subdirectory) => {
        fc.pre(!/[#?:]/.test(ref));
        expect(parseGitReference(`git://host/x#${ref}:${subdirectory}`)).toEqual({
          remote: 'git://host/x',
          ref: ref || undefined,
          subdirectory: subdirectory || undefined,
        });
      }),
    );
  });

  it.each(['--upload-pack=touch /tmp/never', '-x'])('%j is no option of git', async (word) => {
    const folder = await mkdtemp(join(tmpdir(), 'git-'));
    try {
      const signal = new AbortController().signal;
      for (const reference of [
        { remote: word, ref: undefined, subdirectory: undefined },
        { remote: 'git://127.0.0.1/x', ref: word, subdirectory: undefined },
      ]) {
        await expect(checkoutGit(reference, join(folder, 'x'), { signal })).rejects.toThrow(
          'cannot be part of',
        );
      }
      expect(await readdir(folder)).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
