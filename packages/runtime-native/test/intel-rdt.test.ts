/** Groups of resctrl, in a directory that looks like one: few machines have the hardware. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import {
  joinRdtGroups,
  makeRdtGroups,
  planRdtGroups,
  removeRdtGroups,
  resctrlRoot,
} from '../src/intel-rdt.ts';
import { createNativeRuntime } from '../src/native-runtime.ts';
import { defaultSpec } from '../src/spec/index.ts';
import type { LinuxSpec } from '../src/spec/index.ts';

type IntelRdt = NonNullable<LinuxSpec['intelRdt']>;

describe('shares of the processor’s caches', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'tare-resctrl-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** As the kernel would: every group has these. */
  function make(id: string, rdt: IntelRdt): ReturnType<typeof planRdtGroups> {
    const groups = planRdtGroups(root, id, rdt);
    makeRdtGroups(root, groups, rdt);
    return groups;
  }
  const text = (...path: string[]): string => readFileSync(join(root, ...path), 'utf8');
  const group = (name: string): string => {
    mkdirSync(join(root, name, 'mon_groups'), { recursive: true });
    return name;
  };

  it('are a group of the container’s own, by its id, with what joins it', () => {
    const groups = make('c1', { l3CacheSchema: 'L3:0=f;1=f0' });
    joinRdtGroups(groups, 4711);
    expect(text('c1/schemata')).toBe('L3:0=f;1=f0\n');
    expect(text('c1/tasks')).toBe('4711');
    expect(groups.made).toEqual([join(root, 'c1')]);
  });

  it('take the bandwidth of memory from its own field, and every line of schemata', () => {
    group('shared');
    const rdt = {
      closID: 'shared',
      l3CacheSchema: 'MB:0=10\nL3:0=f',
      memBwSchema: 'MB:0=70',
      schemata: ['L2:0=1'],
    };
    const written: string[] = [];
    const groups = planRdtGroups(root, 'c1', rdt);
    expect(groups.made).toEqual([]);
    makeRdtGroups(root, groups, rdt);
    // a file keeps the last write only; the kernel takes each
    written.push(text('shared/schemata'));
    expect(written).toEqual(['L2:0=1\n']);
    rmSync(join(root, 'shared/schemata'));
    mkdirSync(join(root, 'shared/schemata'));
    expect(() => makeRdtGroups(root, groups, rdt)).toThrow(/"L3:0=f" is refused/);
  });

  it('are monitored apart, and go in the order in which they can', () => {
    group('shared');
    const groups = make('c1', { closID: 'shared', enableMonitoring: true });
    joinRdtGroups(groups, 12);
    expect(text('shared/tasks')).toBe('12');
    expect(text('shared/mon_groups/c1/tasks')).toBe('12');
    rmSync(join(root, 'shared/mon_groups/c1/tasks'));
    removeRdtGroups(groups);
    removeRdtGroups(groups);
    expect(existsSync(join(root, 'shared/mon_groups/c1'))).toBe(false);
    expect(existsSync(join(root, 'shared'))).toBe(true);
  });

  it('say what the kernel said of a schema', () => {
    mkdirSync(join(root, 'info'));
    writeFileSync(join(root, 'info/last_cmd_status'), 'Unknown or unsupported resource name\n');
    mkdirSync(join(root, 'shared/schemata'), { recursive: true });
    expect(() => make('c1', { closID: 'shared', schemata: ['XX:0=1'] })).toThrow(
      expect.objectContaining({
        code: 'SETUP_FAILED',
        field: 'linux.intelRdt.schemata',
        message: expect.stringContaining('Unknown or unsupported resource name'),
      }),
    );
  });

  it('refuse groups that are there and should not be, and the other way round', () => {
    group('c1');
    const field = 'linux.intelRdt.closID';
    const refused = (rdt: IntelRdt): void =>
      expect(() => planRdtGroups(root, 'c1', rdt)).toThrow(
        expect.objectContaining({ code: 'INVALID_SPEC', field }),
      );
    refused({ l3CacheSchema: 'L3:0=f' });
    refused({ closID: 'absent' });
    refused({ closID: '../outside', l3CacheSchema: 'L3:0=f' });
    refused({ closID: '..', l3CacheSchema: 'L3:0=f' });
  });
});

it.skipIf(process.platform !== 'linux' || resctrlRoot() !== undefined)(
  'are refused by name where the machine has none',
  async () => {
    const runtime = createNativeRuntime({ stateDirectory: join(tmpdir(), 'tare-never-made') });
    const spec = defaultSpec(['true']);
    spec.root = { path: '/' };
    spec.linux!.intelRdt = { closID: 'a' };
    await expect(runtime.create('c', { spec })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: 'linux.intelRdt',
    });
    expect(existsSync(join(tmpdir(), 'tare-never-made'))).toBe(false);
  },
);
