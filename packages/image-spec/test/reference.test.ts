import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  familiarName,
  familiarReference,
  formatReference,
  isRepositoryName,
  isTag,
  parseReference,
  referenceTarget,
  withDefaultTag,
} from '../src/index.ts';

const hex = 'a1'.repeat(32);
const digest = `sha256:${hex}`;

describe('parseReference', () => {
  test.each([
    ['alpine', 'docker.io/library/alpine'],
    ['alpine:3.20', 'docker.io/library/alpine:3.20'],
    ['me/app', 'docker.io/me/app'],
    ['docker.io/alpine', 'docker.io/library/alpine'],
    ['index.docker.io/alpine', 'docker.io/library/alpine'],
    ['index.docker.io/library/alpine', 'docker.io/library/alpine'],
    ['docker.io/a/b/c', 'docker.io/a/b/c'],
    ['localhost/app', 'localhost/app'],
    ['localhost:5000/app:v1', 'localhost:5000/app:v1'],
    ['127.0.0.1:5000/a/b', '127.0.0.1:5000/a/b'],
    ['[::1]:5000/app', '[::1]:5000/app'],
    ['[2001:db8::1]/app', '[2001:db8::1]/app'],
    ['Registry/app', 'Registry/app'],
    ['quay.io/a/b__c.d-e---f:T_1.x-y', 'quay.io/a/b__c.d-e---f:T_1.x-y'],
    [`alpine@${digest}`, `docker.io/library/alpine@${digest}`],
    [`alpine:3@${digest}`, `docker.io/library/alpine:3@${digest}`],
    ['xn--n3h.com/app', 'xn--n3h.com/app'],
    [hex.slice(1), `docker.io/library/${hex.slice(1)}`],
    [`${hex}:latest`, `docker.io/library/${hex}:latest`],
    ['docker/docker', 'docker.io/docker/docker'],
    ['localhost', 'docker.io/library/localhost'],
    ['foo_bar.com:8080', 'docker.io/library/foo_bar.com:8080'],
  ])('reads %s as %s', (text, whole) => {
    expect(formatReference(parseReference(text))).toBe(whole);
  });

  test.each([
    '',
    ':latest',
    `@${digest}`,
    'Alpine',
    'me/App',
    'alpine:',
    'alpine@',
    'alpine:-x',
    'alpine:.x',
    `alpine:${'x'.repeat(129)}`,
    'a//b',
    '/a',
    'a/',
    '-a',
    'a-',
    'a..b',
    'a___b',
    'a._b',
    'a b',
    ' a',
    'a\n',
    'https://docker.io/alpine',
    'foo.com:80x/app',
    'foo_bar.com:8080/app',
    '-foo.com/app',
    'foo.com/',
    '[::1/app',
    '[gg::1]/app',
    `alpine@sha256:${hex.slice(1)}`,
    `alpine@sha256:${hex.toUpperCase()}`,
    `alpine@md5:${hex}`,
    `alpine@${digest}@${digest}`,
    `alpine@${digest}:tag`,
    'a/'.repeat(128) + 'a',
    hex,
    'é',
    'a:b:c',
    '../etc/passwd',
    'a/../b',
  ])('refuses %j', (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ name: 'ImageSpecError' }));
  });

  test('says what is wrong', () => {
    expect(() => parseReference('Alpine')).toThrow(/repository name must be lowercase/);
    expect(() => parseReference(hex)).toThrow(/image id/);
    expect(() => parseReference('x'.repeat(100_000) + '!')).toThrow(/invalid reference format/);
  });
});

const alphanumeric = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const component = fc
  .array(fc.tuple(alphanumeric, fc.constantFrom('.', '_', '__', '-', '---')), { maxLength: 2 })
  .chain((parts) => alphanumeric.map((last) => parts.map(([a, b]) => a + b).join('') + last));
const repository = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const registry = fc.oneof(
  fc.constantFrom('docker.io', 'localhost', 'localhost:5000', '127.0.0.1', '[::1]:80', 'HOST'),
  fc.domain().filter((name) => name !== 'index.docker.io'),
);
const reference = fc.record(
  {
    registry,
    repository,
    tag: fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/),
    digest: fc.stringMatching(/^[0-9a-f]{64}$/).map((text) => `sha256:${text}`),
  },
  { requiredKeys: ['registry', 'repository'] },
);

test('every well-formed reference survives being written and read', () => {
  fc.assert(
    fc.property(reference, (parts) => {
      // the one thing a whole name cannot say: a Hub image of one component
      fc.pre(parts.registry !== 'docker.io' || parts.repository.includes('/'));
      const whole = formatReference(parts as never);
      expect(parseReference(whole)).toEqual(parts);
    }),
  );
});

test('every familiar form means what the whole one means', () => {
  fc.assert(
    fc.property(reference, (parts) => {
      fc.pre(parts.registry !== 'docker.io' || parts.repository.includes('/'));
      expect(parseReference(familiarReference(parts as never))).toEqual(parts);
    }),
  );
});

test('whatever is read can be written and read again', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-zA-Z0-9./:@_-]{1,30}$/)), (text) => {
      let parsed;
      try {
        parsed = parseReference(text);
      } catch (error) {
        expect(error).toMatchObject({ name: 'ImageSpecError' });
        return;
      }
      expect(parseReference(formatReference(parsed))).toEqual(parsed);
      expect(isRepositoryName(parsed.repository)).toBe(true);
      expect(parsed.tag === undefined || isTag(parsed.tag)).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

/** The grammar of the distribution project as its documentation writes it, and its normalisation, in one function. */
function oracle(text: string): string | undefined {
  if (/^[a-f0-9]{64}$/.test(text)) return undefined;
  const slash = text.indexOf('/');
  const head = text.slice(0, slash);
  const isHost = slash !== -1 && (/[.:]/.test(head) || head === 'localhost' || head.toLowerCase() !== head);
  let [domain, rest] = isHost ? [head, text.slice(slash + 1)] : ['docker.io', text];
  if (domain === 'index.docker.io') domain = 'docker.io';
  if (domain === 'docker.io' && !rest.includes('/')) rest = `library/${rest}`;
  const whole = `${domain}/${rest}`;
  const part = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
  const host = `(?:${part}(?:\\.${part})*|\\[(?:[a-fA-F0-9:]+)\\])(?::[0-9]+)?`;
  const component = '[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*';
  const grammar = new RegExp(
    `^(${host}/${component}(?:/${component})*)(?::([\\w][\\w.-]{0,127}))?(?:@([A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?$`,
  );
  const match = grammar.exec(whole);
  if (match === null || match[1]!.length - domain.length - 1 > 255) return undefined;
  if (match[3] !== undefined && !/^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/.test(match[3]))
    return undefined;
  return whole;
}

test('reads exactly what the grammar of the distribution project says, and as it says', () => {
  const piece = fc.oneof(
    fc.constantFrom('docker.io', 'index.docker.io', 'localhost', 'library', 'Host', 'a', '1', '_', '__', '-', '.', ':', '/', '//', '@', '5000', '[::1]', '[', ']', 'latest', digest, hex, `sha512:${hex}${hex}`, `sha384:${hex}${hex.slice(32)}`, 'é', ' ', '\n'),
    component,
    fc.string({ maxLength: 3 }),
  ); // prettier-ignore
  const text = fc.oneof(
    reference.map((parts) => formatReference(parts as never)),
    fc.array(piece, { maxLength: 9 }).map((pieces) => pieces.join('')),
  );
  const read = (name: string): string | undefined => {
    try {
      return formatReference(parseReference(name));
    } catch {
      return undefined;
    }
  };
  fc.assert(
    fc.property(text, (name) => {
      expect({ name, whole: read(name) }).toEqual({ name, whole: oracle(name) });
    }),
    { numRuns: 5_000 },
  );
});

test('does not take long over hostile names', () => {
  const started = performance.now();
  for (const piece of ['a-', 'a_', 'a.', 'a/', '-', 'A.', ':']) {
    expect(() => parseReference(`${piece.repeat(20_000)}!`)).toThrow();
  }
  expect(performance.now() - started).toBeLessThan(1_000);
});

test.each([
  ['docker.io/library/alpine:3', 'alpine:3'],
  ['docker.io/me/app', 'me/app'],
  ['docker.io/library/a/b', 'library/a/b'],
  ['quay.io/library/alpine', 'quay.io/library/alpine'],
  // without its registry this would be read as a repository on the host foo.bar
  ['docker.io/foo.bar/app', 'docker.io/foo.bar/app'],
])('shows %s as %s', (whole, short) => {
  expect(familiarReference(parseReference(whole))).toBe(short);
});

test('assumes latest only when asked to', () => {
  expect(parseReference('alpine').tag).toBeUndefined();
  expect(withDefaultTag(parseReference('alpine')).tag).toBe('latest');
  expect(withDefaultTag(parseReference(`alpine@${digest}`)).tag).toBeUndefined();
  expect(referenceTarget(parseReference('alpine'))).toBe('latest');
  expect(referenceTarget(parseReference(`alpine:3@${digest}`))).toBe(digest);
  expect(familiarName(parseReference('alpine:3'))).toBe('alpine');
});
