import { describe, expect, it } from 'vitest';

import { MS_PRIVATE, MS_SHARED, parseMountOptions } from '../../src/plan/mount-options.ts';

describe('mount options', () => {
  it('become attributes to set and to clear, the last one winning', () => {
    expect(parseMountOptions(['ro', 'nosuid', 'rw'])).toMatchObject({ set: 2n, clear: 1n });
    expect(parseMountOptions(['rw', 'ro'])).toMatchObject({ set: 1n, clear: 0n });
  });

  it('treat the access times as one field', () => {
    expect(parseMountOptions(['strictatime', 'noatime'])).toMatchObject({ set: 0x10n, clear: 0x70n });
    expect(parseMountOptions(['noatime', 'relatime'])).toMatchObject({ set: 0n, clear: 0x70n });
  });

  it('know the recursive forms from words that begin with r', () => {
    expect(parseMountOptions(['rro', 'rnosuid'])).toMatchObject({ set: 0n, setAll: 3n });
    expect(parseMountOptions(['relatime', 'rw', 'rbind', 'rprivate'])).toMatchObject({
      setAll: 0n,
      bind: { recursive: true },
      propagation: MS_PRIVATE,
    });
  });

  it('leave everything else to the file system, in order', () => {
    expect(parseMountOptions(['defaults', 'size=64m', 'mode=755', 'shared', 'newinstance'])).toMatchObject({
      data: ['size=64m', 'mode=755', 'newinstance'],
      propagation: MS_SHARED,
      bind: undefined,
    });
  });

  it('name what is not supported', () => {
    const options = ['idmap=uids=0-1-1', 'ridmap=@uids=0-1-1;gids=0-1-1', 'idmap=', 'move', 'src-nofollow'];
    expect(parseMountOptions(options).unsupported).toEqual(options);
  });

  it('may hold the ids of the mount, as crun writes them', () => {
    const option = 'ridmap=uids=0-1000-10#20-5000-1;gids=0-7-1';
    expect(parseMountOptions([option])).toMatchObject({
      unsupported: [],
      idmap: {
        recursive: true,
        maps: {
          uidMappings: [
            { containerID: 0, hostID: 1000, size: 10 },
            { containerID: 20, hostID: 5000, size: 1 },
          ],
          gidMappings: [{ containerID: 0, hostID: 7, size: 1 }],
        },
      },
    });
  });
});
