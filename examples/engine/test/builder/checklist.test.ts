/** The builder's README says what is there, and which test shows it: those tests exist. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ENGINE = join(import.meta.dirname, '../..');
const readme = readFileSync(join(ENGINE, 'src/builder/README.md'), 'utf8');
const [, checklist = ''] = /\n## The checklist\n([^]*?)\n## /.exec(readme) ?? [];
const rows = [...checklist.matchAll(/^\| (.+?) \| ([^|]+) \|$/gm)]
  .map(([, feature, tests]) => ({ feature: feature!, tests: tests! }))
  .filter(({ tests }) => !/^(?:---|test$|see )/.test(tests));

function sourceOf(name: string): string {
  if (name === '`examples/build-image`') {
    return readFileSync(join(ENGINE, '../build-image/test/build-image.root.test.ts'), 'utf8');
  }
  const paths = [
    `e2e/${name}.root.test.ts`,
    `builder/${name}.root.test.ts`,
    `builder/${name}.test.ts`,
    `buildkit/${name}.test.ts`,
  ];
  const path = paths.map((one) => join(ENGINE, 'test', one)).find((one) => existsSync(one));
  if (path === undefined) throw new Error(`there is no test file ${name}`);
  return readFileSync(path, 'utf8');
}

describe('the checklist', () => {
  it('has rows', () => {
    expect(rows.length).toBeGreaterThan(40);
  });

  it.each(rows)('$feature', ({ tests }) => {
    for (const reference of tests.split('; ')) {
      const [, file = '', hints = ''] = /^([^:,]+)(?:: (.*)|, .*)?$/.exec(reference) ?? [];
      const source = sourceOf(file.trim());
      for (const hint of hints.split(', ').flatMap((text) => text.split('…'))) {
        expect(source, `${file}: ${hint}`).toContain(hint.trim());
      }
    }
  });
});
