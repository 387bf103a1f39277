import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { digestAlgorithm, digestHex, isDigest, parseDigest } from '../src/index.ts';

test('reads what it should and gives it back', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('sha256' as const, 'sha512' as const),
      fc.infiniteStream(fc.nat(15)),
      (name, stream) => {
        const hex = [...stream.take(name === 'sha256' ? 64 : 128)].map((n) => n.toString(16)).join('');
        const digest = parseDigest(`${name}:${hex}`);
        expect(`${digestAlgorithm(digest)}:${digestHex(digest)}`).toBe(digest);
      },
    ),
  );
});

test('takes nothing that could be a path', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `sha256:${text}`),
      ),
      (text) => {
        if (isDigest(text)) expect(text).toMatch(/^sha(256|512):[0-9a-f]+$/);
      },
    ),
  );
});

test.each([
  '',
  'sha256:',
  `sha256:${'a'.repeat(63)}`,
  `sha256:${'a'.repeat(65)}`,
  `sha256:${'A'.repeat(64)}`,
  `sha256:${'g'.repeat(64)}`,
  `sha256:${'a'.repeat(64)}\n`,
  `sha512:${'a'.repeat(64)}`,
  `md5:${'a'.repeat(32)}`,
  `sha256:../../${'a'.repeat(58)}`,
  'a'.repeat(64),
])('refuses %j', (text) => {
  expect(() => parseDigest(text)).toThrow(expect.objectContaining({ code: 'INVALID_DIGEST' }));
});
