import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StdioDemultiplexer } from '../../src/cli/stdcopy.ts';
import { DetachWatcher, LineFeedKeeper, parseDetachKeys } from '../../src/cli/terminal.ts';
import { frame } from './peer.ts';

describe('detach keys', () => {
  it('are read as Docker spells them', () => {
    expect(parseDetachKeys('ctrl-p,ctrl-q')).toEqual([16, 17]);
    expect(parseDetachKeys('ctrl-@,a,ctrl-\\,ctrl-_')).toEqual([0, 97, 28, 31]);
    expect(() => parseDetachKeys('ctrl-!')).toThrow('Unknown character');
    expect(() => parseDetachKeys('ab')).toThrow('Unknown character');
  });

  const typed = (...chunks: string[]): string => {
    const watcher = new DetachWatcher(parseDetachKeys('ctrl-p,ctrl-q'));
    let passed = '';
    for (const chunk of chunks) {
      const { bytes, detached } = watcher.filter(Buffer.from(chunk));
      passed += Buffer.from(bytes).toString();
      if (detached) return `${passed}|detached`;
    }
    return passed;
  };

  it('detach when typed in a row, in one read or several', () => {
    expect(typed('ab\x10\x11cd')).toBe('ab|detached');
    expect(typed('ab\x10', '\x11cd')).toBe('ab|detached');
  });

  it('are passed on when the sequence is not completed', () => {
    expect(typed('\x10x')).toBe('\x10x');
    expect(typed('\x10', '\x10', 'x')).toBe('\x10\x10x');
    expect(typed('\x11')).toBe('\x11');
    expect(typed('\x10\x10\x11')).toBe('\x10|detached');
  });

  it('let everything else through unchanged', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 20 })), (chunks) => {
        const watcher = new DetachWatcher([1, 2]);
        // 1 never appears, so nothing is ever held back.
        const clean = chunks.map((chunk) => chunk.map((byte) => (byte === 1 ? 3 : byte)));
        const out = clean.flatMap((chunk) => [...watcher.filter(chunk).bytes]);
        expect(out).toEqual(clean.flatMap((chunk) => [...chunk]));
      }),
    );
  });
});

describe('line feeds on a raw terminal', () => {
  it('keep their meaning: down, without returning', () => {
    const keeper = new LineFeedKeeper();
    expect(keeper.transform(Buffer.from('a\r\nb\nc')).toString()).toBe('a\r\nb\x1bDc');
    expect(keeper.transform(Buffer.from('d\r')).toString()).toBe('d\r');
    expect(keeper.transform(Buffer.from('\ne')).toString()).toBe('\ne');
  });
});

describe('framed stdio', () => {
  it('comes out whole and on its own channel, however the bytes are cut', () => {
    const piece = fc.tuple(fc.constantFrom<1 | 2>(1, 2), fc.string());
    fc.assert(
      fc.property(
        fc.array(piece),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        (pieces, cuts) => {
          const seen = { stdout: '', stderr: '' };
          const demultiplexer = new StdioDemultiplexer((channel, payload) => {
            seen[channel as 'stdout' | 'stderr'] += payload.toString('latin1');
          });
          const wire = Buffer.concat(pieces.map(([channel, text]) => frame(channel, text)));
          for (let at = 0, cut = 0; at < wire.length; cut++) {
            const size = cuts[cut % cuts.length]!;
            demultiplexer.push(wire.subarray(at, at + size));
            at += size;
          }
          const expected = (wanted: number): string =>
            pieces
              .flatMap(([channel, text]) =>
                channel === wanted ? [Buffer.from(text).toString('latin1')] : [],
              )
              .join('');
          expect(seen).toEqual({ stdout: expected(1), stderr: expected(2) });
        },
      ),
    );
  });

  it('refuses a stream that is not framed', () => {
    const demultiplexer = new StdioDemultiplexer(() => undefined);
    expect(() => demultiplexer.push(Buffer.from('plain text'))).toThrow('unrecognized input header: 112');
  });
});
