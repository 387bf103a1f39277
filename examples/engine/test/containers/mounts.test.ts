import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { containerMounts, tmpfsOptions, type MountSources } from '../../src/containers/mounts.ts';

const mounts = (sources: Partial<MountSources>) =>
  containerMounts({
    binds: [],
    mounts: [],
    volumes: [],
    tmpfs: [],
    inherited: [],
    volumeDriver: '',
    newVolumeName: () => 'f'.repeat(64),
    ...sources,
  });

describe('containerMounts', () => {
  it('takes an absolute source for a bind', () => {
    expect(mounts({ binds: ['/a:/b', '/c/../d:/e/:ro,rslave'] })).toEqual([
      { type: 'bind', source: '/a', destination: '/b', mode: '', readWrite: true, propagation: 'rprivate' },
      {
        type: 'bind',
        source: '/d',
        destination: '/e',
        mode: 'ro,rslave',
        readWrite: false,
        propagation: 'rslave',
      },
    ]);
  });

  it('takes any other source for a volume', () => {
    expect(mounts({ binds: ['vol:/v'] })).toEqual([
      {
        type: 'volume',
        name: 'vol',
        source: '',
        destination: '/v',
        driver: 'local',
        mode: 'z',
        readWrite: true,
        propagation: '',
      },
    ]);
  });

  it("makes anonymous volumes for the image's, except under what is mounted there already", () => {
    const result = mounts({ binds: ['/a:/x'], volumes: ['/x', '/y', '/z'], tmpfs: ['/z'] });
    expect(result.map(({ destination, anonymous }) => [destination, anonymous])).toEqual([
      ['/x', undefined],
      ['/y', true],
    ]);
  });

  it.each<[string, RegExp]>([
    [':/b', /invalid volume specification: ':\/b'/],
    ['/a:/b:rw:x', /invalid volume specification/],
    ['/a:b', /mount path must be absolute/],
    ['/a:/', /destination can't be '\/'/],
    ['/a:/..', /destination can't be '\/'/],
    ['/a:/b:rw,ro', /invalid mode: rw,ro/],
    ['/a:/b:bogus', /invalid mode: bogus/],
    ['/b:ro', /invalid volume specification/],
    ['./x:/b', /includes invalid characters for a local volume name/],
    ['v:/b', /volume name is too short/],
  ])('refuses %s', (bind, message) => {
    expect(() => mounts({ binds: [bind] })).toThrow(message);
  });

  it('refuses one destination twice, but lets it replace an inherited one', () => {
    expect(() => mounts({ binds: ['/a:/x', '/b:/x/'] })).toThrow('Duplicate mount point: /x');
    const [inherited] = mounts({ binds: ['/a:/x'] });
    expect(mounts({ inherited: [inherited!], binds: ['/b:/x'] })).toMatchObject([{ source: '/b' }]);
  });

  it('reads the explicit form', () => {
    expect(
      mounts({
        mounts: [
          { Type: 'bind', Source: '/a', Target: '/b', ReadOnly: true, BindOptions: { NonRecursive: true } },
          { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 4096, Mode: 0o1770 } },
        ],
      }),
    ).toMatchObject([
      { type: 'bind', readWrite: false, nonRecursive: true, explicit: true },
      { type: 'tmpfs', source: '', tmpfsOptions: ['mode=1770', 'size=4096'] },
    ]);
  });

  it.each([
    [{ Type: 'bind', Target: '/x' }, /field Source must not be empty/],
    [{ Type: 'bind', Source: 'rel', Target: '/x' }, /mount path must be absolute/],
    [{ Type: 'tmpfs', Source: 'x', Target: '/x' }, /field Source must not be specified/],
    [{ Type: 'nosuch', Target: '/x' }, /mount type unknown/],
    [{ Type: 'bind', Source: '/x' }, /field Target must not be empty/],
  ])('refuses %j', (mount, message) => {
    expect(() => mounts({ mounts: [mount] })).toThrow(message);
  });

  it('mounts parents before what is below them', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.stringMatching(/^(\/[a-c]){1,4}$/), { minLength: 2 }), (destinations) => {
        const order = mounts({ binds: destinations.map((path) => `/src:${path}`) }).map(
          ({ destination }) => destination,
        );
        for (const [index, path] of order.entries()) {
          expect(order.slice(0, index).some((earlier) => earlier.startsWith(`${path}/`))).toBe(false);
        }
      }),
    );
  });
});

describe('tmpfsOptions', () => {
  it.each([
    ['', ['nosuid', 'nodev', 'noexec']],
    ['size=1m', ['nosuid', 'nodev', 'noexec', 'size=1m']],
    ['exec,size=1m,size=2m', ['nosuid', 'nodev', 'exec', 'size=2m']],
    ['rw,ro', ['nosuid', 'nodev', 'noexec', 'ro']],
  ])('%j', (text, options) => {
    expect(tmpfsOptions(text.split(','))).toEqual(options);
  });
});
