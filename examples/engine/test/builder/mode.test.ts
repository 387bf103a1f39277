import { execFileSync } from 'node:child_process';
import * as fc from 'fast-check';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseModeChange } from '../../src/builder/dockerfile/mode.ts';

describe('the modes of --chmod', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'mode-'));
    writeFileSync(join(folder, 'file'), '');
    mkdirSync(join(folder, 'directory'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each([
    ['644', 0o777, false, 0o644],
    ['0', 0o777, true, 0],
    ['4755', 0, false, 0o4755],
    ['u+x', 0o644, false, 0o744],
    ['a+X', 0o644, false, 0o644],
    ['a+X', 0o644, true, 0o755],
    ['u=rwX,go=rX', 0o600, true, 0o755],
    ['u=rwX,go=rX', 0o600, false, 0o644],
    ['go-rwx', 0o777, false, 0o700],
    ['+x', 0o644, false, 0o755],
    ['g=u', 0o640, false, 0o660],
    ['u+s,+t', 0o755, true, 0o5755],
    ['=', 0o777, false, 0],
  ])('%s on %o', (text, mode, isDirectory, result) => {
    expect(parseModeChange(text)(mode, isDirectory)).toBe(result);
  });

  it.each(['', '8', '77777', 'u', 'u+q', 'x=r', 'u+r,', '0o644', 'u+r g+r'])('%j is none', (text) => {
    expect(() => parseModeChange(text)).toThrow(TypeError);
  });

  it('are those of chmod(1)', () => {
    const action = fc
      .tuple(
        fc.constantFrom('+', '-', '='),
        fc.constantFrom('r', 'w', 'x', 'X', 's', 't', 'rw', 'rwx', 'u', 'g', 'o', ''),
      )
      .map((parts) => parts.join(''));
    const clause = fc
      .tuple(
        fc.constantFrom('u', 'g', 'o', 'a', 'ug', 'go'),
        fc.array(action, { minLength: 1, maxLength: 3 }),
      )
      .map(([classes, actions]) => classes + actions.join(''));
    const changes = fc.array(clause, { minLength: 1, maxLength: 3 }).map((clauses) => clauses.join(','));
    fc.assert(
      fc.property(changes, fc.integer({ min: 0, max: 0o7777 }), fc.boolean(), (text, mode, isDirectory) => {
        const path = join(folder, isDirectory ? 'directory' : 'file');
        chmodSync(path, mode);
        execFileSync('chmod', ['--', text, path], { stdio: 'ignore' });
        expect(parseModeChange(text)(mode, isDirectory).toString(8)).toBe(
          (statSync(path).mode & 0o7777).toString(8),
        );
      }),
      { numRuns: 200 },
    );
  });
});
