import { describe, expect, it } from 'vitest';
import {
  checkUserNamespace,
  freeIds,
  idMapsOf,
  ownerOnHost,
  remapOf,
} from '../../src/containers/user-namespaces.ts';

const files: Record<string, string> = {
  '/etc/passwd': 'root:x:0:0::/:/bin/sh\ndockremap:x:990:991::/:/bin/false\nann:x:1000:1000::/:/bin/sh\n',
  '/etc/group': 'root:x:0:\nstaff:x:50:\n',
  '/etc/subuid': 'ann:100000:65536\ndockremap:231072:65536\nann:400000:10\n',
  '/etc/subgid': 'ann:100000:65536\n990:300000:65536\n50:500000:65536\n',
};
const remap = (text: string) => remapOf(text, (path) => files[path]!);

describe('userns-remap', () => {
  it('is the ids that a user and a group are granted, by name or number', () => {
    expect(remap('ann')).toEqual({
      uidMappings: [
        { containerID: 0, hostID: 100_000, size: 65_536 },
        { containerID: 65_536, hostID: 400_000, size: 10 },
      ],
      gidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
    });
    expect(remap('1000')).toEqual(remap('ann'));
    expect(remap('ann:staff').gidMappings[0]?.hostID).toBe(500_000);
    expect(remap('default')).toMatchObject({
      uidMappings: [{ hostID: 231_072 }],
      gidMappings: [{ hostID: 300_000 }],
    });
  });

  it('is ids that are given themselves', () => {
    expect(remap('0:7000:100').uidMappings).toEqual([{ containerID: 0, hostID: 7000, size: 100 }]);
  });

  it.for(['nobody', 'ann:nobody', ':', 'a:b:c:d'])('refuses %j', (text) => {
    expect(() => remap(text)).toThrow(/userns-remap/);
  });
});

describe('a container', () => {
  const policy = { remap: remap('ann') };

  it('is in a namespace of its own unless it wants the host’s', () => {
    expect(idMapsOf({ hostConfig: {} }, policy)).toBe(policy.remap);
    expect(idMapsOf({ hostConfig: { UsernsMode: 'host' } }, policy)).toBeUndefined();
    expect(idMapsOf({ hostConfig: {} }, { remap: undefined })).toBeUndefined();
    const ownIds = remap('0:7000:100');
    expect(idMapsOf({ hostConfig: { UsernsMode: 'auto' }, ownIds }, policy)).toBe(ownIds);
    expect(ownerOnHost(ownIds, { uid: 3, gid: 99 })).toEqual({ uid: 7003, gid: 7099 });
    expect(() => ownerOnHost(ownIds, { uid: 3, gid: 100 })).toThrow(/has no id 100/);
  });

  it('gets ids that are nobody else’s', () => {
    const read = (path: string) => (path === '/etc/subuid' ? 'ann:600000:10\nbad line\n' : undefined);
    const first = freeIds([], read);
    expect(first.uidMappings).toEqual([{ containerID: 0, hostID: 0x80000, size: 65_536 }]);
    const second = freeIds([first], read);
    // not the next ones, some of which are granted
    expect(second.gidMappings[0]?.hostID).toBe(0x80000 + 2 * 65_536);
    expect(() => freeIds([remap('0:0:4294967295')], read)).toThrow(/no ids left/);
  });

  it.for([{ Privileged: true }, { NetworkMode: 'host' }, { PidMode: 'host' }])(
    'cannot have %j there',
    (host) => {
      expect(() => checkUserNamespace(host, policy)).toThrow(/user namespaces/);
      expect(() => checkUserNamespace({ ...host, UsernsMode: 'host' }, policy)).not.toThrow();
      expect(() => checkUserNamespace(host, { remap: undefined })).not.toThrow();
      expect(() => checkUserNamespace({ ...host, UsernsMode: 'auto' }, { remap: undefined })).toThrow(
        /user namespaces/,
      );
    },
  );
});
