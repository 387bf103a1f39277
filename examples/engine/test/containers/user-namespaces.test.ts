import { describe, expect, it } from 'vitest';
import { checkUserNamespace, idMapsOf, remapOf } from '../../src/containers/user-namespaces.ts';

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
    expect(idMapsOf({}, policy)).toBe(policy.remap);
    expect(idMapsOf({ UsernsMode: 'host' }, policy)).toBeUndefined();
    expect(idMapsOf({}, { remap: undefined })).toBeUndefined();
  });

  it.for([{ Privileged: true }, { NetworkMode: 'host' }, { PidMode: 'host' }])(
    'cannot have %j there',
    (host) => {
      expect(() => checkUserNamespace(host, policy)).toThrow(/user namespaces/);
      expect(() => checkUserNamespace({ ...host, UsernsMode: 'host' }, policy)).not.toThrow();
      expect(() => checkUserNamespace(host, { remap: undefined })).not.toThrow();
    },
  );
});
