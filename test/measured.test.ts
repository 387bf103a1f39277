/** What the READMEs say was measured is what was. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { chineseReadmeWith, readmeWith } from '../bench/readme.ts';

const read = (file: string): string => readFileSync(join(import.meta.dirname, '..', file), 'utf8');

test.each([
  ['README.md', readmeWith],
  ['README.zh-CN.md', chineseReadmeWith],
])('%s has the numbers of bench/RESULTS.md (npm run bench writes them)', (file, update) => {
  const text = read(file);
  expect(text).toBe(update(read('bench/RESULTS.md'), text));
});
