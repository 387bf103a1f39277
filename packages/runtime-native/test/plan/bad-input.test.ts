/** Specs that are malformed or contradict themselves: refused with the path of the field, whatever is wrong with them. */
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { RuntimeError } from '../../src/errors.ts';
import { createNativeRuntime } from '../../src/native-runtime.ts';
import { compileContainer } from '../../src/plan/compile.ts';
import type { Caller } from '../../src/plan/context.ts';
import { encodePlan } from '../../src/plan/operations.ts';
import { parseSpec } from '../../src/plan/validate.ts';
import { defaultSpec } from '../../src/spec/index.ts';
import type { IdMapping, Spec } from '../../src/spec/index.ts';
import { CONTEXT, ROOT, USER } from './context.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const CGROUPS = {
  tasks: [],
  birth: '/cg/x',
  oomEvents: undefined,
  unified: true,
  hierarchies: [{ name: 'unified', directory: '/cg/x', links: [] }],
};

function compile(spec: unknown, caller: Caller = ROOT): void {
  const context = { ...CONTEXT, cgroups: CGROUPS, caller, warn: () => {} };
  encodePlan(compileContainer(parseSpec(spec), context));
}

/** A spec that has nearly everything, as JSON. */
function everything(): Json {
  const spec = defaultSpec(['true']);
  const maps = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
  return JSON.parse(
    JSON.stringify({
      ...spec,
      root: { path: '/image', readonly: true },
      hostname: 'h',
      domainname: 'd',
      annotations: { a: 'b' },
      hooks: { createContainer: [{ path: '/hook', args: ['hook'], env: ['A=1'], timeout: 3 }] },
      process: {
        ...spec.process,
        consoleSize: { height: 20, width: 80 },
        user: { uid: 1, gid: 2, umask: 18, additionalGids: [3] },
        rlimits: [{ type: 'RLIMIT_CORE', soft: 0, hard: 1 }],
        oomScoreAdj: 10,
        scheduler: { policy: 'SCHED_OTHER', nice: 1 },
        ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 3 },
      },
      mounts: [
        ...spec.mounts!,
        {
          destination: '/m',
          type: 'bind',
          source: '/s',
          options: ['rbind'],
          uidMappings: maps,
          gidMappings: maps,
        },
      ],
      linux: {
        ...spec.linux,
        namespaces: [...spec.linux!.namespaces!, { type: 'user' }, { type: 'time' }],
        uidMappings: maps,
        gidMappings: maps,
        timeOffsets: { boottime: { secs: 5, nanosecs: 6 } },
        devices: [{ type: 'c', path: '/dev/x', major: 1, minor: 3, fileMode: 438, uid: 0, gid: 0 }],
        sysctl: { 'net.ipv4.ip_forward': '1' },
        rootfsPropagation: 'slave',
        personality: { domain: 'LINUX' },
        memoryPolicy: { mode: 'MPOL_BIND', nodes: '0' },
        netDevices: { eth9: { name: 'eth0' } },
        resources: {
          ...spec.linux!.resources,
          memory: { limit: 1 << 26, swap: 1 << 27 },
          cpu: { shares: 10, cpus: '0' },
          pids: { limit: 9 },
          unified: { 'memory.high': '1' },
        },
      },
    }),
  ) as Json;
}

/** Every place in a value, as the keys that lead there. */
function* places(value: Json, at: (string | number)[] = []): Generator<(string | number)[]> {
  yield at;
  if (Array.isArray(value)) for (const [i, inner] of value.entries()) yield* places(inner, [...at, i]);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, inner] of Object.entries(value)) yield* places(inner, [...at, key]);
  }
}

function replaced(value: Json, [key, ...rest]: (string | number)[], by: Json): Json {
  if (key === undefined) return by;
  if (Array.isArray(value)) return value.map((inner, i) => (i === key ? replaced(inner, rest, by) : inner));
  const object = value as Record<string, Json>;
  return { ...object, [key]: replaced(object[key]!, rest, by) };
}

const PLACES = [...places(everything())].filter((place) => place.length > 0);

/** `linux.namespaces[3].path`, or a part of it from the start. */
function fieldOf(place: (string | number)[]): string {
  return place
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`))
    .join('')
    .slice(1);
}

/** What is thrown, if anything. Anything but a refusal by this package fails the test. */
function refusal(attempt: () => void): RuntimeError | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    expect(['INVALID_SPEC', 'UNSUPPORTED']).toContain(error.code);
    return error;
  }
}

/** Values that belong nowhere, or nearly. */
const strange: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(null, true, -1, 0.5, 2 ** 32, 2 ** 70, '', '..', '/', '\0', 'x'.repeat(70), [], {}, [
    null,
  ]),
  fc.string(),
  fc.integer(),
  fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>,
);

describe('a spec with a mistake', () => {
  it('is as such fine', () => {
    compile(everything());
  });

  it('is compiled or refused with a field, whatever stands wherever, by root and by others', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...PLACES),
        strange,
        fc.constantFrom(ROOT, USER),
        (place, value, caller) => {
          const error = refusal(() => compile(replaced(everything(), place, value), caller));
          if (error) expect(error.message.startsWith(error.field ?? 'no field'), error.message).toBe(true);
        },
      ),
      { numRuns: process.env['TARE_TEST_FULL'] ? 20_000 : 1500 },
    );
  });

  it('is refused with the path of a value that is of another type', () => {
    const wrong = { wrong: [{}] };
    for (const place of PLACES) {
      // records take any key; what they hold is a place of its own
      const error = refusal(() =>
        compile(replaced(everything(), place, typeof place.at(-1) === 'number' ? 1.5 : [[wrong]])),
      );
      expect(error, fieldOf(place)).toBeDefined();
      // the field itself, the list it is in, or a part of it
      const field = error!.field!;
      const near = fieldOf(place);
      expect(
        field.startsWith(near) || near.startsWith(field.replace(/\[\d+\]$/, '')),
        `${near}: ${field}`,
      ).toBe(true);
    }
  });

  it('makes nothing', async () => {
    const stateDirectory = join(tmpdir(), `tare-never-made-${process.pid}`);
    const runtime = createNativeRuntime({ stateDirectory });
    const changes: [field: string, change: (spec: Spec) => void][] = [
      ['linux.namespaces', (spec) => (spec.linux!.namespaces = [])],
      ['mounts[0].source', (spec) => (spec.mounts = [{ destination: '/x', type: 'bind' }])],
      ['linux.uidMappings', (spec) => (spec.linux!.uidMappings = mapping([0, 1000, 1]))],
      ['process', (spec) => delete spec.process],
    ];
    for (const [field, change] of changes) {
      const spec = defaultSpec(['true']);
      spec.root = { path: '/' };
      change(spec);
      await expect(runtime.create('c', { spec }), field).rejects.toMatchObject({
        code: 'INVALID_SPEC',
        field,
      });
    }
    expect(existsSync(stateDirectory)).toBe(false);
  });
});

const mapping = (...maps: [containerID: number, hostID: number, size: number][]): IdMapping[] =>
  maps.map(([containerID, hostID, size]) => ({ containerID, hostID, size }));

describe('a user namespace that cannot be meant', () => {
  const fine = mapping([0, 1000, 10], [10, 5000, 10]);
  function refused(change: (spec: Spec) => void, caller: Caller = ROOT): string | undefined {
    const spec = defaultSpec(['true']);
    spec.root = { path: '/image' };
    spec.linux!.namespaces!.push({ type: 'user' });
    spec.linux!.uidMappings = fine;
    spec.linux!.gidMappings = fine;
    change(spec);
    return refusal(() => compile(spec, caller))?.field;
  }

  it('is refused with the mapping that is wrong', () => {
    expect(refused(() => {})).toBeUndefined();
    const cases: [field: string, maps: IdMapping[]][] = [
      ['linux.uidMappings', []],
      ['linux.uidMappings[1].containerID', mapping([0, 1000, 10], [9, 5000, 10])],
      ['linux.uidMappings[1].hostID', mapping([0, 1000, 10], [10, 1009, 10])],
      ['linux.uidMappings[0].hostID', mapping([10, 1009, 10], [0, 1000, 10])],
      ['linux.uidMappings[0].size', mapping([0, 0xffff_fff0, 100])],
      ['linux.uidMappings', Array.from({ length: 341 }, (_, i) => mapping([i, i, 1])[0]!)],
      ['process.user.uid', mapping([1, 1000, 10])],
    ];
    for (const [field, maps] of cases) {
      expect(
        refused((spec) => (spec.linux!.uidMappings = maps)),
        field,
      ).toBe(field);
    }
    expect(refused((spec) => delete spec.linux!.gidMappings)).toBe('linux.gidMappings');
    expect(refused((spec) => (spec.process!.user.additionalGids = [3, 99]))).toBe(
      'process.user.additionalGids[1]',
    );
    expect(
      refused((spec) => (spec.linux!.devices = [{ type: 'c', path: '/dev/x', major: 1, minor: 3, uid: 77 }])),
    ).toBe('linux.devices[0].uid');
    expect(refused((spec) => spec.linux!.namespaces!.pop())).toBe('linux.uidMappings');
  });

  it('is refused to who may not map these ids, and has no groups where it may have none', () => {
    expect(refused(() => {}, USER)).toBe('linux.uidMappings');
    const own = (spec: Spec): void => {
      spec.linux!.uidMappings = mapping([0, USER.uid, 1]);
      spec.linux!.gidMappings = mapping([0, USER.gid, 1]);
    };
    expect(refused(own, USER)).toBeUndefined();
    expect(
      refused((spec) => {
        own(spec);
        spec.linux!.uidMappings = mapping([0, USER.uid + 1, 1]);
      }, USER),
    ).toBe('linux.uidMappings');
    expect(
      refused((spec) => {
        own(spec);
        spec.process!.user.additionalGids = [0];
      }, USER),
    ).toBe('process.user.additionalGids');
    expect(refused((spec) => (spec.linux!.netDevices = { eth9: {} }), { ...USER, idTools: TOOLS })).toBe(
      'linux.netDevices',
    );
    // programs that may map more
    expect(refused(() => {}, { ...USER, idTools: TOOLS })).toBeUndefined();
  });

  it('is refused a mount namespace that is joined and file systems of its own at the same time', () => {
    const spec: Spec = {
      ociVersion: '1.2.0',
      process: { user: { uid: 0, gid: 0 }, args: ['true'], cwd: '/' },
      linux: { namespaces: [{ type: 'mount', path: '/proc/1/ns/mnt' }] },
    };
    compile(spec);
    for (const [field, more] of [
      ['root', { root: { path: '/x' } }],
      ['mounts', { mounts: [{ destination: '/x', type: 'tmpfs' }] }],
      ['linux.maskedPaths', { linux: { ...spec.linux, maskedPaths: ['/x'] } }],
    ] as const) {
      expect(refusal(() => compile({ ...spec, ...more }))?.field).toBe(field);
    }
  });
});

const TOOLS = { uid: '/usr/bin/newuidmap', gid: '/usr/bin/newgidmap' };
