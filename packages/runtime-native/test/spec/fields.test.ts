/** The table of the fields of the runtime spec against the schemas, the tests, and what the runtime says that it can. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { describe, expect, it } from 'vitest';
import { z } from 'zod';

import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { features } from '../../src/features.ts';
import { CLONE_FLAGS } from '../../src/plan/namespaces.ts';
import { HOOK_KINDS } from '../../src/spec/config.ts';
import { specSchema } from '../../src/spec/index.ts';
import { FIELDS, expand } from './fields.ts';

/** What is read of a JSON schema. */
interface Schema {
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema | boolean;
}

function* leaves(schema: Schema, path: string): Generator<string> {
  const { properties, items, additionalProperties: others } = schema;
  if (properties) {
    for (const [name, inner] of Object.entries(properties))
      yield* leaves(inner, path ? `${path}.${name}` : name);
  } else if (items?.properties) yield* leaves(items, `${path}[]`);
  else if (typeof others === 'object' && others.properties) yield* leaves(others, `${path}[*]`);
  else yield path;
}

const table = new Map(
  Object.entries(FIELDS).flatMap(([key, test]) => expand(key).map((field) => [field, test] as const)),
);

describe('the fields of the runtime spec', () => {
  it('are all in the table, and nothing else is', () => {
    const schema = z.toJSONSchema(specSchema, { unrepresentable: 'any' }) as Schema;
    expect([...table.keys()].toSorted()).toEqual([...leaves(schema, '')].toSorted());
  });

  it('have each a test that is there', () => {
    for (const [field, test] of table) {
      const [, file = '', title = ''] = /^([^:]+): (.*)$/.exec(test)!;
      const text = readFileSync(join(import.meta.dirname, '..', file), 'utf8').replaceAll(/\s+/g, ' ');
      const there = ["('", "( '", '(`'].some((before) => text.includes(before + title));
      expect(there, `${field}: ${test}`).toBe(true);
    }
  });

  const official = componentPath(COMPONENTS.runtimeSpec);
  it.skipIf(!official)('are those of the specification', () => {
    const directory = dirname(official!);
    const text = (name: string): Schema & Record<string, Schema> =>
      JSON.parse(readFileSync(join(directory, name), 'utf8')) as Schema & Record<string, Schema>;
    const top = Object.keys(text('config-schema.json').properties!);
    const linux = Object.keys(text('config-linux.json')['linux']!.properties!);
    const known = [...table.keys()];
    const has = (name: string): boolean =>
      known.some((field) => new RegExp(`^${name}(?![A-Za-z])`).test(field));
    // the specifications of other systems
    const others = new Set(['solaris', 'windows', 'vm', 'zos', 'freebsd']);
    expect(top.filter((name) => !others.has(name) && !has(name))).toEqual([]);
    expect(linux.filter((name) => !has(`linux\\.${name}`))).toEqual([]);
  });
});

describe('what the runtime says that it can do', () => {
  it('is what the table has tests for', () => {
    const { hooks, linux } = features();
    expect([...hooks].toSorted()).toEqual([...HOOK_KINDS].toSorted());
    for (const kind of hooks) expect(table.has(`hooks.${kind}[].path`)).toBe(true);
    expect(linux.namespaces).toEqual(Object.keys(CLONE_FLAGS).toSorted());
    const enabled: [feature: boolean, field: string][] = [
      [linux.mountExtensions.idmap.enabled, 'mounts[].uidMappings[].hostID'],
      [linux.netDevices.enabled, 'linux.netDevices[*].name'],
      [linux.cgroup.v1 && linux.cgroup.v2, 'linux.cgroupsPath'],
      [linux.seccomp.enabled, 'linux.seccomp.defaultAction'],
    ];
    for (const [feature, field] of enabled)
      expect({ field, feature: feature && table.has(field) }).toEqual({ field, feature: true });
  });
});
