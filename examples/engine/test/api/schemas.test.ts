/** The schemas of the API's replies are those that are published: same fields, same places of null and absence. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import * as container from '../../src/api/container.ts';
import * as hostConfig from '../../src/api/host-config.ts';
import * as image from '../../src/api/image.ts';
import * as network from '../../src/api/network.ts';
import { REPLIES } from '../../src/api/replies.ts';
import * as stats from '../../src/api/stats.ts';
import * as system from '../../src/api/system.ts';
import * as values from '../../src/api/values.ts';
import * as volume from '../../src/api/volume.ts';
import { refusedRoutes } from '../../src/http/routes/refused.ts';
import { allRoutes } from '../all-routes.ts';
import { published } from './published.ts';

const schemas = {
  ...container,
  ...hostConfig,
  ...image,
  ...network,
  ...stats,
  ...system,
  ...values,
  ...volume,
};

describe('the schemas of replies', () => {
  const lists = published('1.51');
  it.for([...lists])('%s is as published', ([name, fields]) => {
    const { shape } = schemas[name as keyof typeof schemas] as z.ZodObject<Record<string, z.ZodType>>;
    const ours = Object.entries(shape).map(([field, schema]) => ({
      field,
      omitted: schema instanceof z.ZodOptional,
      nullable: schema instanceof z.ZodNullable,
    }));
    // a field that is left out when it is empty is never null
    const theirs = fields.map(({ field, type, presence }) => ({
      field,
      omitted: presence === 'omit',
      nullable: presence === 'always' && type.endsWith('|null'),
    }));
    expect(ours).toEqual(theirs);
  });

  it('are there for every end-point that is served', () => {
    const refused = new Set(refusedRoutes().map(({ method, path }) => `${method} ${path}`));
    const served = allRoutes
      .map(({ method, path }) => `${method} ${path}`)
      .filter((route) => !refused.has(route));
    expect(served.filter((route) => !Object.hasOwn(REPLIES, route))).toEqual([]);
    expect(Object.keys(REPLIES).filter((route) => !served.includes(route))).toEqual([]);
  });
});

it('the field lists are read whole', () => {
  const text = readFileSync(new URL('fields-1.51.tsv', import.meta.url), 'utf8');
  expect([...published('1.51').values()].flat()).toHaveLength(text.trimEnd().split('\n').length);
});
