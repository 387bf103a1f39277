import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { DetachFilter, parseDetachKeys } from '../../src/containers/detach-keys.ts';

const run = (keys: string, chunks: Uint8Array[]) => {
  const filter = new DetachFilter(parseDetachKeys(keys));
  const out: number[] = [];
  for (const chunk of chunks) {
    const { data, detached } = filter.push(chunk);
    out.push(...data);
    if (detached) return { out: Buffer.from(out), detached: true };
  }
  return { out: Buffer.from(out), detached: false };
};

describe('parseDetachKeys', () => {
  it.each([
    ['', [0x10, 0x11]],
    ['ctrl-p,ctrl-q', [0x10, 0x11]],
    ['ctrl-@,d', [0, 0x64]],
    ['ctrl-[', [0x1b]],
  ])('%j', (text, bytes) => {
    expect([...parseDetachKeys(text)]).toEqual(bytes);
  });

  it.each(['ctrl-', 'ctrl-1', 'alt-x', 'ctrl-p,'])('refuses %j', (text) => {
    expect(() => parseDetachKeys(text)).toThrow('invalid detach keys');
  });
});

describe('DetachFilter', () => {
  it('hears the sequence, also split over chunks', () => {
    expect(run('', [Buffer.from('ab\x10'), Buffer.from('\x11cd')])).toEqual({
      out: Buffer.from('ab'),
      detached: true,
    });
  });

  it('passes on keys that only began it', () => {
    expect(run('', [Buffer.from('a\x10'), Buffer.from('b')])).toEqual({
      out: Buffer.from('a\x10b'),
      detached: false,
    });
    expect(run('', [Buffer.from('\x10\x10\x11')])).toEqual({ out: Buffer.from('\x10'), detached: true });
  });

  it('loses and invents nothing, however the input is cut', () => {
    const byte = fc.constantFrom(0x10, 0x11, 0x61);
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ min: 0x10, max: 0x12, maxLength: 5 })), byte, (chunks, last) => {
        const input = Buffer.concat([...chunks, Buffer.of(last)]);
        const whole = run('', [input]);
        const cut = run('', [...chunks, Buffer.of(last)]);
        expect(cut).toEqual(whole);
        const at = input.indexOf(Buffer.of(0x10, 0x11));
        if (at >= 0) expect(whole).toEqual({ out: input.subarray(0, at), detached: true });
        // a key that may still begin the sequence is held back
        else expect(whole.out).toEqual(input.at(-1) === 0x10 ? input.subarray(0, -1) : input);
      }),
    );
  });
});
