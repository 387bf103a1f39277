import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { compareNatural } from '../../../src/cli/format/natural-order.ts';

it('orders numbers inside names by their value', () => {
  expect(['n10', 'n2', 'a', '80/tcp', '8080/tcp', '443/tcp', 'n2b'].sort(compareNatural)).toEqual([
    '80/tcp',
    '443/tcp',
    '8080/tcp',
    'a',
    'n2',
    'n2b',
    'n10',
  ]);
});

it('is a consistent order', () => {
  const name = fc.array(fc.constantFrom('a', 'b', '1', '9', '10', '-')).map((parts) => parts.join(''));
  fc.assert(
    fc.property(name, name, name, (a, b, c) => {
      expect(Math.sign(compareNatural(a, b))).toBe(-Math.sign(compareNatural(b, a)) + 0);
      if (compareNatural(a, b) <= 0 && compareNatural(b, c) <= 0)
        expect(compareNatural(a, c)).toBeLessThanOrEqual(0);
    }),
  );
});
