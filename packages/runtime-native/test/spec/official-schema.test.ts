/** Our schemas beside those of the specification: what they refuse, we refuse too. */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

import Ajv from 'ajv-draft-04';
import type { ValidateFunction } from 'ajv';
import { beforeAll, describe, expect, it } from 'vitest';

import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { parseSpec } from '../../src/plan/validate.ts';
import { defaultSpec } from '../../src/spec/index.ts';

const schema = componentPath(COMPONENTS.runtimeSpec);
if (!schema) console.warn('skipped: the schemas of the specification (tools/test.mjs fetches them)');

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const ids = [{ containerID: 0, hostID: 1000, size: 10 }];
const hook = { path: '/bin/true', args: ['true'], env: ['A=1'], timeout: 5 };
const rate = [{ major: 8, minor: 0, rate: 1000 }];

/** Every field that the schemas of the specification describe for Linux. */
function everything(): Json {
  const base = defaultSpec(['true']);
  const capabilities = ['CAP_CHOWN'];
  return JSON.parse(
    JSON.stringify({
      ...base,
      hostname: 'h',
      domainname: 'd',
      annotations: { a: 'b' },
      root: { path: '/image', readonly: true },
      hooks: { prestart: [hook], createRuntime: [hook], poststop: [hook] },
      mounts: [
        {
          destination: '/m',
          type: 'bind',
          source: '/s',
          options: ['bind'],
          uidMappings: ids,
          gidMappings: ids,
        },
      ],
      process: {
        ...base.process,
        terminal: true,
        consoleSize: { height: 1, width: 2 },
        user: { uid: 1, gid: 2, umask: 18, additionalGids: [3] },
        capabilities: {
          bounding: capabilities,
          permitted: capabilities,
          effective: capabilities,
          inheritable: capabilities,
          ambient: capabilities,
        },
        rlimits: [{ type: 'RLIMIT_CORE', soft: 1, hard: 2 }],
        apparmorProfile: 'p',
        selinuxLabel: 'l',
        oomScoreAdj: 5,
      },
      linux: {
        namespaces: [{ type: 'mount' }, { type: 'network', path: '/ns' }],
        uidMappings: ids,
        gidMappings: ids,
        devices: [{ type: 'c', path: '/dev/x', major: 1, minor: 2, fileMode: 438, uid: 0, gid: 0 }],
        cgroupsPath: '/c',
        rootfsPropagation: 'slave',
        sysctl: { 'net.ipv4.ip_forward': '1' },
        maskedPaths: ['/proc/x'],
        readonlyPaths: ['/proc/y'],
        mountLabel: 'l',
        personality: { domain: 'LINUX32', flags: [] },
        intelRdt: { closID: 'c', l3CacheSchema: 'x', memBwSchema: 'MB:0=20' },
        seccomp: {
          defaultAction: 'SCMP_ACT_ERRNO',
          defaultErrnoRet: 1,
          architectures: ['SCMP_ARCH_X86_64'],
          flags: ['SECCOMP_FILTER_FLAG_LOG'],
          listenerPath: '/l',
          listenerMetadata: 'm',
          syscalls: [
            {
              names: ['read'],
              action: 'SCMP_ACT_ALLOW',
              errnoRet: 1,
              args: [{ index: 0, value: 1, valueTwo: 2, op: 'SCMP_CMP_EQ' }],
            },
          ],
        },
        resources: {
          devices: [{ allow: true, type: 'c', major: 1, minor: 2, access: 'rwm' }],
          memory: { limit: 1, reservation: 1, swap: 1, kernel: 1, kernelTCP: 1, swappiness: 1 },
          cpu: {
            shares: 1,
            quota: 1,
            period: 1,
            realtimeRuntime: 1,
            realtimePeriod: 1,
            cpus: '0',
            mems: '0',
          },
          pids: { limit: 1 },
          blockIO: { weight: 10, leafWeight: 10, throttleReadBpsDevice: rate, throttleWriteIOPSDevice: rate },
          hugepageLimits: [{ pageSize: '2MB', limit: 1 }],
          network: { classID: 1, priorities: [{ name: 'eth0', priority: 1 }] },
          rdma: { mlx5_1: { hcaHandles: 1, hcaObjects: 2 } },
          unified: { 'memory.high': '1' },
        },
      },
    }),
  );
}

/** A value of every kind, out of every range: most of them are wrong at any place. */
const WRONG: Json[] = ['x', '', -1, 1.5, 1e30, true, null, [], {}, ['x'], [1], { x: 1 }];

/** Calls `visit` once for each place in `root` and each wrong value there, and once with the place taken away. */
function mutate(root: Json, visit: (path: string, mutant: Json) => void): void {
  function walk(node: Json, path: string): void {
    if (typeof node !== 'object' || node === null) return;
    const holder = node as { [key: string]: Json };
    for (const key of Object.keys(holder)) {
      const value = holder[key]!;
      const place = `${path}/${key}`;
      for (const wrong of WRONG) {
        holder[key] = wrong;
        visit(place, root);
      }
      if (!Array.isArray(node)) {
        delete holder[key];
        visit(`${place} (missing)`, root);
      }
      holder[key] = value;
      walk(value, place);
    }
  }
  walk(root, '');
}

function accepts(spec: Json): boolean {
  try {
    parseSpec(spec);
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(!schema)('beside the schemas of the specification', () => {
  let official: ValidateFunction;
  beforeAll(() => {
    const ajv = new Ajv.default({ strict: false, validateFormats: false });
    const folder = dirname(schema!);
    for (const name of readdirSync(folder)) {
      if (name !== 'state-schema.json')
        ajv.addSchema(JSON.parse(readFileSync(join(folder, name), 'utf8')), name);
    }
    official = ajv.getSchema('config-schema.json')!;
  });

  it('a spec with every field is a spec to both', () => {
    expect(official(everything()), JSON.stringify(official.errors)).toBe(true);
    expect(() => parseSpec(everything())).not.toThrow();
  });

  it('nothing that they refuse is accepted here', () => {
    const lenient = new Set<string>();
    let refused = 0;
    mutate(everything(), (path, mutant) => {
      if (official(mutant)) return;
      refused++;
      if (accepts(mutant)) lenient.add(path);
    });
    expect([...lenient]).toEqual([]);
    expect(refused).toBeGreaterThan(1000);
  });
});
