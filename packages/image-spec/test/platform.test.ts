import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  formatPlatform,
  matchesPlatform,
  normalizePlatform,
  parsePlatform,
  platformOfProcess,
  platformRank,
} from '../src/index.ts';

test.each([
  ['linux/amd64', 'linux/amd64'],
  ['Linux/x86_64', 'linux/amd64'],
  ['linux/amd64/v1', 'linux/amd64'],
  ['linux/amd64/v3', 'linux/amd64/v3'],
  ['linux/aarch64', 'linux/arm64'],
  ['linux/arm64/v8', 'linux/arm64'],
  ['linux/arm64/8', 'linux/arm64'],
  ['linux/arm', 'linux/arm/v7'],
  ['linux/arm/6', 'linux/arm/v6'],
  ['linux/armhf', 'linux/arm/v7'],
  ['linux/armel', 'linux/arm/v6'],
  ['linux/i386', 'linux/386'],
  ['arm64', 'linux/arm64'],
  ['x86-64', 'linux/amd64'],
  ['macos/arm64', 'darwin/arm64'],
  ['linux/future', 'linux/future'],
])('normalises %s to %s', (text, normal) => {
  expect(formatPlatform(parsePlatform(text))).toBe(normal);
});

test.each([
  '',
  '/',
  'linux/',
  '/amd64',
  'linux/amd64/v1/x',
  'linux amd64',
  'linux',
  'nonsense',
  'linux/am\nd64',
])('refuses %j', (text) => {
  expect(() => parsePlatform(text)).toThrow(expect.objectContaining({ code: 'INVALID_PLATFORM' }));
});

test('normalising twice changes nothing more', () => {
  const word = fc.oneof(
    fc.constantFrom('arm', 'ARM64', 'x86_64', 'v8', '8', 'v1', '7', 'linux', 'aarch64', 'armhf', ''),
    fc.string({ maxLength: 6 }),
  );
  fc.assert(
    fc.property(fc.record({ os: word, architecture: word, variant: word }), (platform) => {
      const once = normalizePlatform(platform);
      expect(normalizePlatform(once)).toEqual(once);
      expect(platformRank(platform, once)).toBe(0);
    }),
  );
});

test.each([
  ['linux/amd64', ['linux/amd64', 'linux/386']],
  ['linux/amd64/v3', ['linux/amd64/v3', 'linux/amd64/v2', 'linux/amd64', 'linux/386']],
  ['linux/arm/v7', ['linux/arm/v7', 'linux/arm/v6', 'linux/arm/v5']],
  ['linux/arm/v6', ['linux/arm/v6', 'linux/arm/v5']],
  ['linux/arm64', ['linux/arm64', 'linux/arm/v8', 'linux/arm/v7', 'linux/arm/v6', 'linux/arm/v5']],
  ['linux/arm64/v9.2', ['linux/arm64/v9.2', 'linux/arm64/v9', 'linux/arm64', 'linux/arm/v8']],
  ['linux/amd64/v99999999', ['linux/amd64/v99999999', 'linux/amd64/v4', 'linux/amd64', 'linux/386']],
  ['linux/s390x', ['linux/s390x']],
])('%s runs, best first, %j', (wanted, offered) => {
  const ranks = offered.map((text) => platformRank(parsePlatform(wanted), parsePlatform(text)));
  expect(ranks).toEqual([...ranks].sort((a, b) => a - b));
  expect(ranks[0]).toBe(0);
  expect(ranks).not.toContain(Infinity);
  expect(new Set(ranks).size).toBe(ranks.length);
});

test.each([
  ['linux/amd64', 'linux/amd64/v2'],
  ['linux/arm/v6', 'linux/arm/v7'],
  ['linux/386', 'linux/amd64'],
  ['linux/arm/v7', 'linux/arm64'],
  ['linux/amd64', 'windows/amd64'],
  ['linux/amd64', 'linux/arm64'],
  ['linux/amd64/vnew', 'linux/amd64/v2'],
])('%s does not run %s', (wanted, offered) => {
  expect(matchesPlatform(parsePlatform(wanted), parsePlatform(offered))).toBe(false);
});

test('compares Windows versions up to the revision', () => {
  const windows = (version: string) => ({ os: 'windows', architecture: 'amd64', 'os.version': version });
  expect(matchesPlatform(windows('10.0.17763.1'), windows('10.0.17763.999'))).toBe(true);
  expect(matchesPlatform(windows('10.0.17763.1'), windows('10.0.20348.1'))).toBe(false);
});

test('knows the platform of this process', () => {
  expect(platformOfProcess({ platform: 'linux', arch: 'x64' })).toEqual({
    os: 'linux',
    architecture: 'amd64',
  });
  expect(formatPlatform(platformOfProcess({ platform: 'linux', arch: 'arm' }))).toBe('linux/arm/v7');
  expect(formatPlatform(platformOfProcess(process))).toMatch(/^\w+\/\w+/);
});
