import { describe, expect, it } from 'vitest';
import type { Change } from '@tare/layer-store/snapshot';
import { mountPointsOf } from '../../src/containers/export.ts';

const changes = (text: string): Change[] =>
  text.split(' ').map((one) => {
    const [kind, path] = one.split(':');
    return { kind: kind as Change['kind'], path: path! };
  });
const made = (text: string): string[] => [...mountPointsOf(changes(text))].sort();

describe('the mount points that are no change of the container', () => {
  it('are those that every container has, with the directories made for them', () => {
    expect(made('add:dev add:etc add:etc/hosts add:proc add:sys add:vol')).toEqual(
      'dev etc etc/hosts proc sys'.split(' '),
    );
    expect(made('modify:etc add:etc/hosts')).toEqual(['etc', 'etc/hosts']);
  });

  it('are not those in which something else happened, or which were removed or changed', () => {
    expect(made('modify:etc add:etc/hosts add:etc/mine')).toEqual(['etc/hosts']);
    expect(made('modify:etc delete:etc/hosts')).toEqual([]);
    expect(made('modify:etc modify:etc/passwd')).toEqual([]);
    expect(made('modify:etc')).toEqual([]);
    expect(made('add:dev add:dev/file')).toEqual([]);
    expect(made('add:etcetera add:etcetera/x')).toEqual([]);
  });
});
