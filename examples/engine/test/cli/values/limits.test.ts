import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/cli/errors.ts';
import { normalizeCapabilities, parseRestart, parseUlimit } from '../../../src/cli/values/limits.ts';

describe('--ulimit', () => {
  it('takes soft, and hard when it differs', () => {
    expect(parseUlimit('nofile=1024')).toEqual({ Name: 'nofile', Soft: 1024, Hard: 1024 });
    expect(parseUlimit('nofile=1:2')).toEqual({ Name: 'nofile', Soft: 1, Hard: 2 });
    expect(parseUlimit('core=-1')).toEqual({ Name: 'core', Soft: -1, Hard: -1 });
    expect(parseUlimit('core=5:-1')).toEqual({ Name: 'core', Soft: 5, Hard: -1 });
  });

  it.for(['nofile', 'nofile=', 'nofile=2:1', 'nofile=-1:5', 'nofile=1:2:3', 'foo=1'])(
    'refuses %s',
    (text) => {
      expect(() => parseUlimit(text)).toThrow(UsageError);
    },
  );
});

it('reads restart policies with and without a count', () => {
  expect(parseRestart('always')).toEqual({ Name: 'always', MaximumRetryCount: 0 });
  expect(parseRestart('on-failure:3')).toEqual({ Name: 'on-failure', MaximumRetryCount: 3 });
  expect(() => parseRestart('on-failure:x')).toThrow(UsageError);
  expect(() => parseRestart(':3')).toThrow(UsageError);
});

it('normalises capabilities to sorted names with their prefix, each once', () => {
  expect(normalizeCapabilities(['net_admin', 'CAP_CHOWN', 'chown', 'all'])).toEqual([
    'ALL',
    'CAP_CHOWN',
    'CAP_NET_ADMIN',
  ]);
});
