import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { allRoutes as routes } from './all-routes.ts';

/** POST and DELETE that change nothing of their own: they watch, or carry what another request started. */
const NO_JOB = [
  /^POST \/containers\/:id\/(attach|wait|resize)$/,
  /^POST \/exec\/:id\/resize$/,
  /^DELETE \/jobs\/:id$/,
  /^POST \/build\/cancel$/,
  // BuildKit's connections: each build on them is a job
  /^POST \/(session|grpc)$/,
  // always refused
  /^PUT \/volumes\/:name$/,
  // is one when nothing is left but to name the result
  /^POST \/build\/unchanged$/,
  /^\w+ \/(swarm|nodes|services|secrets|configs|plugins)\b/,
  /^\w+ \/containers\/:id\/checkpoints\b/,
];

describe('the routes', () => {
  it('are all in this list', () => {
    const files = readdirSync(new URL('../src/http/routes', import.meta.url));
    expect(files.sort()).toEqual(
      [
        'build',
        'buildkit',
        'container-files',
        'containers',
        'events',
        'exec',
        'image-files',
        'images',
        'jobs',
        'metrics',
        'networks',
        'refused',
        'registries',
        'system',
        'volumes',
      ].map((n) => `${n}.ts`),
    );
  });

  it('run as a job when they change something', () => {
    const without = routes
      .filter(({ method, job }) => ['POST', 'PUT', 'DELETE'].includes(method) && job === undefined)
      .map(({ method, path }) => `${method} ${path}`)
      .filter((route) => !NO_JOB.some((pattern) => pattern.test(route)));
    expect(without).toEqual([]);
  });

  it('are each there once', () => {
    const names = routes.map(({ method, path }) => `${method} ${path}`);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });
});
