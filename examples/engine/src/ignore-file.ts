/** `.dockerignore` rules, on the library that knows them. */
import { posix } from 'node:path';
import * as dockerignore from '@balena/dockerignore';
import type { Ignore } from '@balena/dockerignore';

// its types declare a default export, which the module itself is
const make = dockerignore.default as unknown as () => Ignore;

/** Which paths are ignored. */
export interface IgnoreRules {
  /** @param path - relative, without a slash at the begin */
  ignores(path: string): boolean;
  /** Some things inside of what is ignored are wanted after all. */
  hasExceptions: boolean;
}

/** Rules from patterns. @throws for a malformed pattern */
export function ignoreRules(patterns: readonly string[]): IgnoreRules {
  const matcher = make().add([...patterns]);
  return {
    ignores: (path) => matcher.ignores(path),
    hasExceptions: patterns.some((pattern) => pattern.startsWith('!')),
  };
}

/** The patterns in the text of an ignore file, relative: a slash at the begin means nothing. */
export function ignorePatterns(text: string): string[] {
  return text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => {
      const [, not = '', pattern = ''] = /^(!?)\s*(.*)$/s.exec(line) ?? [];
      return `${not}${posix
        .normalize(pattern)
        .replace(/^\//, '')
        .replace(/(?<=.)\/$/, '')}`;
    });
}
