/** What a machine's facts mean. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blockers, judge, type Check } from '../../src/doctor/checks.ts';
import { examine } from '../../src/doctor/doctor.ts';
import type { MachineFacts } from '../../src/doctor/facts.ts';
import { readHostFacts, type CgroupFacts } from '../../src/system/host-facts.ts';

/** Of a machine where every controller is there, but for `some`. */
const cgroups = (some: Partial<CgroupFacts>): CgroupFacts => ({
  ...readHostFacts().cgroup,
  version: '2',
  memory: true,
  swap: true,
  cpu: true,
  cpuset: true,
  pids: true,
  ...some,
});

const good: MachineFacts = {
  platform: 'linux',
  arch: 'x64',
  nodeVersion: '24.1.0',
  kernelVersion: '6.1.0-56-amd64',
  operatingSystem: 'Debian GNU/Linux 12 (bookworm)',
  uid: 0,
  userName: 'root',
  nativeFailure: undefined,
  namespaces: ['mnt', 'pid', 'net', 'uts', 'ipc', 'user', 'cgroup', 'time'],
  cgroups: cgroups({}),
  overlay: 'there',
  bridge: 'there',
  veth: 'loadable',
  nfTables: 'there',
  seccomp: true,
  userNamespaces: 15_000,
  data: { path: '/var/lib/tare', freeBytes: 50e9, fileSystem: 'ext4', writable: true },
  ipForward: false,
  securityModules: [],
  group: { name: 'docker', exists: true, member: false, effective: false },
};

const check = (facts: Partial<MachineFacts>, id: string): Check =>
  judge({ ...good, ...facts }).find((found) => found.id === id)!;

describe('a machine', () => {
  it('that has everything is good in every way', () => {
    expect(judge(good).filter(({ verdict }) => verdict !== 'good')).toEqual([]);
  });

  it.each<[what: string, facts: Partial<MachineFacts>, id: string, verdict: string, words: RegExp]>([
    ['with an old kernel', { kernelVersion: '5.4.0-1' }, 'kernel', 'fails', /5\.6/],
    ['with the least kernel', { kernelVersion: '5.6.0' }, 'kernel', 'good', /^$/],
    ['with an old Node.js', { nodeVersion: '22.18.0' }, 'node', 'fails', /22\.19/],
    ['without overlayfs', { overlay: 'missing' }, 'overlay', 'fails', /modprobe overlay/],
    ['without bridges', { bridge: 'missing' }, 'bridge', 'lacks', /host and none/],
    ['without nf_tables', { nfTables: 'missing' }, 'nftables', 'lacks', /modprobe nf_tables/],
    ['without cgroups', { cgroups: undefined }, 'cgroups', 'fails', /mount -t cgroup2/],
    ['without a controller', { cgroups: cgroups({ memory: false }) }, 'cgroups', 'lacks', /memory/],
    ['without PID namespaces', { namespaces: ['mnt', 'net', 'uts', 'ipc'] }, 'namespaces', 'fails', /kernel/],
    [
      'whose images lie on an overlay',
      { data: { ...good.data, fileSystem: 'overlay' } },
      'storage',
      'fails',
      /data-root/,
    ],
    ['with a full disk', { data: { ...good.data, freeBytes: 1e6 } }, 'storage', 'lacks', /prune/],
    ['whose native parts are missing', { nativeFailure: 'not compiled' }, 'native', 'fails', /boot\.mjs/],
    ['with a foreign processor', { arch: 'riscv64' }, 'system', 'lacks', /gcc/],
    ['without the group', { group: { ...good.group, exists: false } }, 'group', 'lacks', /groupadd/],
    ['of macOS', { platform: 'darwin' }, 'system', 'fails', /Linux/],
  ])('%s', (_what, facts, id, verdict, words) => {
    const found = check(facts, id);
    expect(found.verdict).toBe(verdict);
    expect(`${found.means} ${found.remedy}`.trim()).toMatch(words);
  });

  it('tells a user who has just joined the group to log out', () => {
    const group = { name: 'docker', exists: true, member: true, effective: false };
    expect(check({ uid: 1000, userName: 'kim', group }, 'group').remedy).toMatch(/log out and in again/);
    expect(check({ uid: 1000, userName: 'kim', group: { ...group, effective: true } }, 'group').verdict).toBe(
      'good',
    );
  });

  it('is told what everything that is not good means, and what to do', () => {
    const part = fc.constantFrom('there', 'loadable', 'missing') as fc.Arbitrary<'there'>;
    const facts = fc.record({
      kernelVersion: fc.constantFrom('3.10.0', '5.6.0', '6.18.1-foo'),
      nodeVersion: fc.constantFrom('20.0.0', '22.19.0', '25.1.2'),
      uid: fc.constantFrom(0, 1000),
      overlay: part,
      bridge: part,
      veth: part,
      nfTables: part,
      seccomp: fc.boolean(),
      userNamespaces: fc.nat(3),
      nativeFailure: fc.constantFrom(undefined, 'broken'),
      namespaces: fc.subarray(good.namespaces),
    });
    fc.assert(
      fc.property(facts, (some) => {
        const checks = judge({ ...good, ...some });
        expect(new Set(checks.map(({ id }) => id)).size).toBe(checks.length);
        for (const { verdict, found, means, remedy } of checks) {
          expect(found).not.toBe('');
          expect([means === '', remedy === '']).toEqual([verdict === 'good', verdict === 'good']);
        }
        expect(blockers(checks).every(({ verdict }) => verdict === 'fails')).toBe(true);
      }),
    );
  });
});

describe('this machine', () => {
  it('is looked at without a failure', async () => {
    const checks = await examine();
    expect(checks.length).toBeGreaterThan(10);
    expect(checks.find(({ id }) => id === 'kernel')!.found).toMatch(/^Linux \d/);
  });
});
