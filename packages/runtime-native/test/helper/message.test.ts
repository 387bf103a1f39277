import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { FRAME, FrameReader, decodeFailure, encodeFrame } from '../../src/helper/message.ts';

describe('frames', () => {
  it('have a header of type, argument, id and length', () => {
    expect(encodeFrame(FRAME.RESIZE, 1, 0x0203, Uint8Array.of(80, 0, 24, 0)).toString('hex')).toBe(
      '050103020400000050001800',
    );
  });

  it('come out whole, wherever the stream is cut', () => {
    const frames = fc.array(
      fc.record({
        type: fc.nat(255),
        argument: fc.nat(255),
        id: fc.nat(65_535),
        payload: fc.uint8Array({ maxLength: 100 }),
      }),
    );
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 40 })), (list, cuts) => {
        let stream = Buffer.concat(
          list.map(({ type, argument, id, payload }) => encodeFrame(type, argument, id, payload)),
        );
        const reader = new FrameReader();
        const seen: unknown[] = [];
        const take = (bytes: Buffer): void => {
          for (const frame of reader.push(bytes))
            seen.push({ ...frame, payload: Uint8Array.from(frame.payload) });
        };
        for (const cut of cuts) {
          take(stream.subarray(0, cut));
          stream = stream.subarray(cut);
        }
        take(stream);
        expect(seen).toEqual(list);
      }),
    );
  });

  it('longer than any monitor sends are refused', () => {
    const header = Buffer.from('8400000000000100', 'hex');
    expect([...new FrameReader().push(header)]).toEqual([]);
    header.writeUInt32LE(65_537, 4);
    expect(() => [...new FrameReader().push(header)]).toThrow(RangeError);
  });

  it('carry failures', () => {
    const payload = Buffer.concat([Buffer.from([2, 0, 0, 0]), Buffer.from('MOUNT\0fsopen\0/x y\0')]);
    expect(decodeFailure(payload)).toEqual({
      errno: 2,
      errnoCode: 'ENOENT',
      reason: 'no such file or directory',
      step: 'MOUNT',
      syscall: 'fsopen',
      path: '/x y',
    });
  });
});
