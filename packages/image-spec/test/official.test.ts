/** Our reading and validation beside the tests of the projects that define them, as Debian packages have these. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { COMPONENTS, componentPath, fetchComponents } from '../../../test/lab/debian.ts';
import { MEDIA_TYPES, formatReference, parseReference, validateDocument } from '../src/index.ts';

let schemaFolder: string | undefined;
let references: string | undefined;

beforeAll(async () => {
  const find = () => {
    const config = componentPath(COMPONENTS.imageSpec);
    schemaFolder = config && dirname(config);
    references = componentPath(COMPONENTS.distribution);
  };
  find();
  if (schemaFolder !== undefined && references !== undefined) return;
  for (const { component, reason } of await fetchComponents()) {
    if (component === COMPONENTS.imageSpec || component === COMPONENTS.distribution)
      console.warn(`skipped: ${component.costs}: ${reason}`);
  }
  find();
}, 120_000);

/** Documents in backquotes with what the test expects of each. */
function cases(file: string): { text: string; fail: boolean }[] {
  const path = join(schemaFolder!, file);
  if (!existsSync(path)) return [];
  return [...readFileSync(path, 'utf8').matchAll(/:\s*`([^`]*)`,\s*fail:\s*(true|false)/g)].map(
    ([, text, fail]) => ({ text: text!, fail: fail === 'true' }),
  );
}

describe('the tests of the image specification', () => {
  test.each([
    ['manifest_test.go', MEDIA_TYPES.ociManifest],
    ['config_test.go', MEDIA_TYPES.ociConfig],
    ['imageindex_test.go', MEDIA_TYPES.ociIndex],
    ['imagelayout_test.go', MEDIA_TYPES.ociLayout],
  ])('of %s find with us what they expect', async (file, mediaType) => {
    if (schemaFolder === undefined) return;
    const all = cases(file);
    expect(all.length).toBeGreaterThan(1);
    for (const { text, fail } of all) {
      // since version 1.1 a manifest may have no layers at all, and the annotations of its parts are free
      if (fail && /"layers": \[\s*\]/.test(text)) continue;
      const found = await validateDocument(new TextEncoder().encode(text), mediaType);
      expect({ text, wrong: found.length > 0 }).toEqual({ text, wrong: fail });
    }
  });

  test('of descriptors find with us what they expect', async () => {
    if (schemaFolder === undefined) return;
    const all = cases('descriptor_test.go');
    expect(all.length).toBeGreaterThan(10);
    for (const { text, fail } of all) {
      // the specification allows digests that nobody can verify; this package refuses them
      const unknown = !/"sha(?:256|512):/.test(text);
      const manifest = `{"schemaVersion":2,"layers":[],"config":${text}}`;
      const found = await validateDocument(new TextEncoder().encode(manifest), MEDIA_TYPES.ociManifest);
      expect({ text, wrong: found.length > 0 }).toEqual({ text, wrong: fail || unknown });
    }
  });
});

/** The strings of a list in Go. */
function goStrings(source: string, list: string): string[] {
  const [, body = ''] = new RegExp(`${list} := \\[\\]string\\{([^}]*)\\}`).exec(source) ?? [];
  return [...body.matchAll(/^\s*"([^"]*)",/gm)].map(([, text]) => text!);
}

describe('the tests of the distribution project', () => {
  test('name repositories that are valid here as there, and others that are not', () => {
    if (references === undefined) return;
    const source = readFileSync(references, 'utf8');
    const valid = goStrings(source, 'validRepoNames');
    const invalid = goStrings(source, 'invalidRepoNames');
    expect([valid.length > 5, invalid.length > 5]).toEqual([true, true]);
    for (const name of valid) expect(() => parseReference(name), name).not.toThrow();
    for (const name of invalid) expect(() => parseReference(name), name).toThrow();
  });

  test('normalise names as we do', () => {
    if (references === undefined) return;
    const source = readFileSync(references, 'utf8');
    const rows = [
      ...source.matchAll(/RemoteName:\s*"([^"]*)",[^}]*?FullName:\s*"([^"]*)",[^}]*?AmbiguousName:\s*"([^"]*)",[^}]*?Domain:\s*"([^"]*)"/g),
    ]; // prettier-ignore
    expect(rows.length).toBeGreaterThan(5);
    for (const [, remote, full, ambiguous, domain] of rows) {
      for (const name of [full!, ambiguous!].filter((text) => text !== '')) {
        const parsed = parseReference(name);
        expect(formatReference(parsed)).toBe(full);
        expect(parsed).toMatchObject({ registry: domain, repository: remote });
      }
    }
  });
});
