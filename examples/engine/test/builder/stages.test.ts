import { describe, expect, it } from 'vitest';
import { DockerfileError } from '../../src/builder/dockerfile/errors.ts';
import { parseDockerfile } from '../../src/builder/dockerfile/parser.ts';
import { planStages, type PlanOptions } from '../../src/builder/dockerfile/stages.ts';
import { namePattern } from '../../src/builder/glob.ts';

const plan = (text: string, options: Partial<PlanOptions> = {}) =>
  planStages(parseDockerfile(text), {
    buildArgs: {},
    platformArgs: { BUILDPLATFORM: 'linux/x' },
    target: '',
    ...options,
  });
const bases = (text: string, options?: Partial<PlanOptions>) =>
  plan(text, options).stages.map(({ base }) => base);

describe('the plan', () => {
  it('tells images, earlier stages and scratch apart, by names in any case', () => {
    expect(bases('FROM a AS Base\nFROM base\nFROM scratch\nFROM later\nFROM b AS later')).toEqual([
      { kind: 'image', reference: 'a', platform: undefined },
      { kind: 'stage', index: 0 },
      { kind: 'scratch' },
      { kind: 'image', reference: 'later', platform: undefined },
      { kind: 'image', reference: 'b', platform: undefined },
    ]);
  });

  it('expands FROM with the arguments before it, and the platform’s', () => {
    const text = 'ARG tag=1\nARG image=app:$tag\nFROM --platform=$BUILDPLATFORM ${image}';
    expect(bases(text)).toEqual([{ kind: 'image', reference: 'app:1', platform: 'linux/x' }]);
    expect(bases(text, { buildArgs: { tag: '2' } })).toMatchObject([{ reference: 'app:2' }]);
    expect(bases(text, { buildArgs: { tag: null } })).toMatchObject([{ reference: 'app:1' }]);
  });

  it('needs the target, what it is built on, and what it takes files from', () => {
    const text = [
      'FROM a AS one',
      'FROM a AS two',
      'FROM a AS three',
      'COPY --from=one / /',
      'FROM two',
      'RUN --mount=type=bind,target=/t,from=three true',
      'FROM a AS last',
    ].join('\n');
    expect(plan(text).needed).toEqual([4]);
    expect(plan(text, { target: '3' }).needed).toEqual([0, 1, 2, 3]);
    expect(plan(text, { target: 'THREE' }).needed).toEqual([0, 2]);
  });

  it.each([
    ['FROM a\nFROM b AS x', { target: 'y' }, 'failed to reach build target y'],
    ['FROM a AS build', { target: 'biuld' }, '(did you mean build?)'],
    ['FROM a b', {}, 'FROM requires either one or three arguments'],
    ['FROM a AS 1x', {}, 'invalid name for build stage'],
    ['FROM --nope=1 a', {}, 'unknown flag: --nope'],
    ['ENV a=b\nFROM a', {}, 'ENV before FROM'],
    ['ARG 1=2\nFROM a', {}, 'is none'],
  ])('%j is refused', (text, options, message) => {
    expect(() => plan(text, options)).toThrow(DockerfileError);
    expect(() => plan(text, options)).toThrow(message);
  });
});

describe('wildcards', () => {
  it.each([
    ['*.txt', ['a.txt', '.txt'], ['a.md', 'a.txt.x', 'd/a.txt']],
    ['?', ['a'], ['', 'ab', '/']],
    ['[a-c]x', ['ax', 'cx'], ['dx', 'x']],
    ['[^a]x', ['bx'], ['ax', 'x']],
    ['a\\*', ['a*'], ['ab']],
    ['a.b', ['a.b'], ['axb']],
    ['[]-]', [], [']', '-']],
  ])('%s', (pattern, matching, others) => {
    const expression = namePattern(pattern);
    for (const name of matching) expect(expression?.test(name), name).toBe(true);
    for (const name of others) expect(expression?.test(name) ?? false, name).toBe(false);
  });
});
