/** What the options of a mount come to inside a container. */
import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { mountAt, unmount } from '../src/mounts.ts';
import type { MountSpec } from '../src/spec/index.ts';
import { runToEnd, shellSpec } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';
import { kernelHas } from './root.ts';

describeContainers('a mount in a container', () => {
  let lab: Lab;
  let source: string;
  beforeAll(() => {
    lab = makeLab();
    source = join(lab.directory, 'source');
    mkdirSync(join(source, 'below'), { recursive: true });
    writeFileSync(join(source, 'file'), 'x');
    mkdirSync(join(lab.rootfs, 'filled/deep'), { recursive: true });
    writeFileSync(join(lab.rootfs, 'filled/deep/file'), 'content');
    chmodSync(join(lab.rootfs, 'filled/deep/file'), 0o4711);
    chownSync(join(lab.rootfs, 'filled/deep'), 7, 8);
    symlinkSync('/etc/passwd', join(lab.rootfs, 'filled/link'));
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  async function out(script: string, ...mounts: MountSpec[]): Promise<string> {
    const spec = shellSpec(lab.rootfs, script, ({ mounts: all }) => all!.push(...mounts));
    const { stdout, stderr } = await runToEnd(lab.runtime, 'c', { spec });
    expect(stderr).toBe('');
    return stdout.trim();
  }

  const ids = {
    uidMappings: [{ containerID: 0, hostID: 5000, size: 100 }],
    gidMappings: [{ containerID: 0, hostID: 6000, size: 100 }],
  };

  it('shows the ids of its own mappings, and takes no file of an id without one', async () => {
    const bound = { destination: '/m', type: 'bind', source, options: ['bind'], ...ids };
    // an id without a mapping can write nothing
    const script = 'stat -c "%u %g" /m/file; (touch /m/new 2>/dev/null && echo wrote) || echo refused';
    expect(await out(script, bound)).toBe('5000 6000\nrefused');
  });

  it.skipIf(!kernelHas(6, 3))('shows them on a tmpfs too (needs Linux 6.3)', async () => {
    const fresh = { destination: '/m', type: 'tmpfs', source: 'tmpfs', options: ['idmap'], ...ids };
    expect(await out('stat -c "%u %g" /m', fresh)).toBe('5000 6000');
  });

  it('maps the ids of the mounts below it only with ridmap', async () => {
    const below = join(source, 'below');
    const other = join(lab.directory, 'other');
    mkdirSync(other);
    mountAt({ type: 'bind', source: other, options: [] }, below);
    try {
      const mount = (option: string): MountSpec => ({
        destination: '/m',
        type: 'bind',
        source,
        options: ['rbind', option],
        ...ids,
      });
      const script = 'stat -c %u /m /m/below';
      expect(await out(script, mount('idmap'))).toBe('5000\n0');
      expect(await out(script, mount('ridmap'))).toBe('5000\n5000');
    } finally {
      unmount(below);
    }
  });

  it('is refused a mapping of users without one of groups, and idmap without any', async () => {
    const { uidMappings } = ids;
    const bind = { destination: '/m', type: 'bind', source };
    await expect(out('true', { ...bind, uidMappings })).rejects.toMatchObject({
      code: 'INVALID_SPEC',
      field: 'mounts[7].gidMappings',
    });
    await expect(out('true', { ...bind, options: ['idmap'] })).rejects.toMatchObject({
      code: 'INVALID_SPEC',
      field: 'mounts[7].options',
    });
  });

  it('says so when a file system cannot map ids', async () => {
    const mount = { destination: '/m', type: 'bind', source: '/proc', options: ['bind'], ...ids };
    await expect(out('true', mount)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: 'mounts',
      syscall: 'mount_setattr',
      message: expect.stringContaining('file system at /m cannot have its ids mapped') as string,
    });
  });

  it('begins with what it covers when it is a tmpfs with tmpcopyup', async () => {
    const mount = {
      destination: '/filled',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['tmpcopyup', 'size=1m', 'ro'],
    };
    const script =
      'cat /filled/deep/file; stat -c " %a" /filled/deep/file; stat -c "%u %g" /filled/deep; ' +
      'readlink /filled/link; stat -f -c %T /filled; (touch /filled/x 2>/dev/null && echo wrote) || echo refused';
    expect(await out(script, mount)).toBe('content 4711\n7 8\n/etc/passwd\ntmpfs\nrefused');
  });

  it('fails when what it covers does not fit, and for other types is refused tmpcopyup', async () => {
    const mount = { destination: '/bin', type: 'tmpfs', source: 'tmpfs', options: ['tmpcopyup', 'size=4k'] };
    await expect(out('true', mount)).rejects.toMatchObject({ step: 'MOUNT', errnoCode: 'ENOSPC' });
    const bind = { destination: '/m', type: 'bind', source, options: ['bind', 'tmpcopyup'] };
    await expect(out('true', bind)).rejects.toMatchObject({ field: 'mounts[7].options' });
  });

  it('has every recursive attribute on the mounts below it too', async () => {
    const below = join(source, 'below');
    mountAt({ type: 'tmpfs', source: 'tare', options: ['size=64k'] }, below);
    try {
      const options = ['rbind', 'rro', 'rnosuid', 'rnodev', 'rnoexec', 'rnoatime', 'rnosymfollow'];
      const script = 'awk \'$5 ~ "^/m" { print $6 }\' /proc/self/mountinfo';
      const found = await out(script, { destination: '/m', type: 'bind', source, options });
      const all = 'ro,nosuid,nodev,noexec,noatime,nosymfollow';
      expect(found).toBe(`${all}\n${all}`);
    } finally {
      unmount(below);
    }
  });

  it('has ids that its options map', async () => {
    const options = ['bind', 'idmap=uids=0-5000-100;gids=0-6000-100'];
    expect(await out('stat -c "%u %g" /m/file', { destination: '/m', type: 'bind', source, options })).toBe(
      '5000 6000',
    );
  });

  it('changes its attributes when it is mounted again', async () => {
    const bound = { destination: '/m', type: 'bind', source, options: ['rbind', 'rw'] };
    const again = (...options: string[]): MountSpec => ({
      destination: '/m',
      options: ['remount', ...options],
    });
    const script = 'grep " /m " /proc/self/mountinfo | cut -d" " -f6; touch /m/x 2>&1';
    expect(await out(script, bound, again('bind', 'ro', 'noexec'), again('exec', 'nosuid'))).toMatch(
      /^ro,nosuid,relatime\ntouch: .*Read-only file system$/,
    );
    const wrong = (mount: MountSpec): Promise<string> => out('true', bound, mount);
    await expect(wrong(again('size=5'))).rejects.toMatchObject({
      code: 'INVALID_SPEC',
      field: 'mounts[8].options',
    });
    await expect(wrong(again('shared'))).rejects.toMatchObject({
      code: 'INVALID_SPEC',
      field: 'mounts[8].options',
    });
    // nothing is mounted there
    await expect(out('true', { destination: '/etc', options: ['remount', 'ro'] })).rejects.toMatchObject({
      code: 'SETUP_FAILED',
      step: 'ATTRIBUTES',
      path: '/etc',
    });
  });

  it('has the propagation of its options', async () => {
    const script = 'awk \'$5 == "/m" { print $7 }\' /proc/self/mountinfo';
    const mount = (...options: string[]): MountSpec => ({ destination: '/m', type: 'bind', source, options });
    expect(await out(script, mount('rbind', 'rshared'))).toMatch(/^shared:/);
    expect(await out(script, mount('rbind', 'unbindable'))).toBe('unbindable');
    expect(await out(script, mount('rbind', 'rprivate'))).toBe('-');
  });

  it('is the root with the propagation of the spec', async () => {
    const seen = async (rootfsPropagation: 'shared' | 'private' | 'unbindable'): Promise<string> => {
      const script = 'awk \'$5 == "/" { print $7 }\' /proc/self/mountinfo';
      const spec = shellSpec(lab.rootfs, script, ({ linux }) => Object.assign(linux!, { rootfsPropagation }));
      return (await runToEnd(lab.runtime, 'c', { spec })).stdout.trim();
    };
    expect(await seen('shared')).toMatch(/^shared:/);
    expect(await seen('private')).toBe('-');
    expect(await seen('unbindable')).toBe('unbindable');
  });
});
