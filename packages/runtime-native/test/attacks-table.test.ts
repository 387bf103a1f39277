/** ATTACKS.md is what a reader believes, so its tests must be there. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

const rows = readFileSync(join(import.meta.dirname, 'ATTACKS.md'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| ') && line.includes('`'))
  .map((line) => line.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, '').trim()));

describe('the table of attacks', () => {
  it.each(rows)('%s: the one who %s meets a test', (...cells) => {
    const [, , file = '', sentence = ''] = cells;
    const source = readFileSync(join(import.meta.dirname, file.replaceAll('`', '')), 'utf8');
    expect(source).toContain(`'${sentence}`);
  });

  it('has every identifier that the tests of attacks name', () => {
    const named = ['attacks.root.test.ts', 'security.root.test.ts', 'rootless.root.test.ts'].flatMap(
      (file) => [...readFileSync(join(import.meta.dirname, file), 'utf8').matchAll(/CVE-\d{4}-\d+/g)],
    );
    const listed = rows.map(([id]) => id).join();
    expect(named.map(([id]) => id).filter((id) => !listed.includes(id))).toEqual([]);
  });
});
