import { describe, expect, it } from 'vitest';

import { resolveUser } from '../../src/containers/user.ts';

const files = {
  passwd: [
    'root:x:0:0:root:/root:/bin/sh',
    'web:x:33:33:web:/var/www:/bin/false',
    '1000:x:0:0:a trap:/root:/bin/sh',
    'broken:x:abc:1',
    'wrapped:x:4294967296:0::/:',
    '',
  ].join('\n'),
  group: 'root:x:0:root\nweb:x:33:\nlogs:x:44:web,root\nbin:x:1:root\n1000:x:0:\n',
};

describe('resolveUser', () => {
  it.each<[string, string[], number, number, number[], string]>([
    ['', [], 0, 0, [0, 44, 1], '/root'],
    ['root', [], 0, 0, [0, 44, 1], '/root'],
    ['web', [], 33, 33, [33, 44], '/var/www'],
    ['33', [], 33, 33, [33, 44], '/var/www'],
    ['web:logs', [], 33, 44, [44], '/var/www'],
    ['web:7', [], 33, 7, [7], '/var/www'],
    ['4242', [], 4242, 0, [0], '/'],
    ['4242:5', [], 4242, 5, [5], '/'],
    ['web', ['logs', '99'], 33, 33, [33, 44, 99], '/var/www'],
  ])('%s with groups %j', (user, groupAdd, uid, gid, additionalGids, home) => {
    expect(resolveUser(user, groupAdd, files)).toEqual({ uid, gid, additionalGids, home });
  });

  it('takes digits for an id, never for the name of a user that has them (CVE-2016-3697)', () => {
    expect(resolveUser('1000', [], files)).toMatchObject({ uid: 1000, gid: 0, home: '/' });
    expect(resolveUser('5:1000', [], files)).toMatchObject({ gid: 1000 });
  });

  it.each(['nosuch', 'web:nosuch', 'broken', 'wrapped'])(
    'refuses %s, whom the image does not know',
    (user) => {
      expect(() => resolveUser(user, [], files)).toThrow(/unable to find (user|group)/);
    },
  );

  it.each(['4294967296', '4294967295', '-1', '1:4294967296'])(
    'refuses %s, which would wrap around',
    (user) => {
      expect(() => resolveUser(user, [], files)).toThrow('must be in range');
    },
  );

  it('works for an image without passwd', () => {
    const none = { passwd: undefined, group: undefined };
    expect(resolveUser('', [], none)).toEqual({ uid: 0, gid: 0, additionalGids: [0], home: '/' });
    expect(() => resolveUser('web', [], none)).toThrow('unable to find user web');
  });
});
