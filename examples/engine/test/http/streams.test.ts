import { describe, expect, it } from 'vitest';
import { encodeProgress, formatSize, frame } from '../../src/http/streams.ts';

describe('frame', () => {
  it('has the stream, three zeros and the length big-endian before the payload', () => {
    expect(frame('stderr', Buffer.from('hi')).toString('hex')).toBe('02000000000000026869');
  });
});

describe('encodeProgress', () => {
  it('ends every message with CRLF', () => {
    expect(encodeProgress({ status: 'Pulling from library/x', id: 'latest' })).toBe(
      '{"status":"Pulling from library/x","id":"latest"}\r\n',
    );
  });

  it('carries an error in its old and its new form', () => {
    expect(JSON.parse(encodeProgress({ errorDetail: { code: 1, message: 'no' } }))).toEqual({
      errorDetail: { code: 1, message: 'no' },
      error: 'no',
    });
  });

  it('draws the bar of old beside the numbers', () => {
    const message = JSON.parse(
      encodeProgress({ status: 'Downloading', progressDetail: { current: 500_000, total: 1_000_000 } }),
    ) as { progress: string };
    expect(message.progress).toBe(`[${'='.repeat(25)}>${' '.repeat(25)}]    500kB/1MB`);
  });
});

describe('formatSize', () => {
  it.each([
    [0, '0B'],
    [999, '999B'],
    [1000, '1kB'],
    [1234567, '1.235MB'],
    [4145350, '4.145MB'],
    [266720513, '266.7MB'],
  ])('prints %d as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
