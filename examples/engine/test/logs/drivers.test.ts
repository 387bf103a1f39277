import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attributesText, checkLogOptions, containerLog, logAttributes } from '../../src/logs/drivers.ts';
import { encodeJournal, encodeSyslog } from '../../src/logs/sinks.ts';

describe('log options', () => {
  it.for<[driver: string, options: Record<string, string>, message: string]>([
    ['fluentd', {}, "logger: no log driver named 'fluentd' is registered"],
    ['json-file', { nope: '1' }, "unknown log opt 'nope' for json-file log driver"],
    ['journald', { 'max-size': '1m' }, "unknown log opt 'max-size' for journald log driver"],
    ['json-file', { 'max-size': 'much' }, 'invalid value for max-size: "much"'],
    ['json-file', { 'max-size': '0' }, 'invalid value for max-size: "0"'],
    ['local', { 'max-file': '0' }, 'max-file cannot be less than 1'],
    ['json-file', { mode: 'sometimes' }, 'logging mode not supported: sometimes'],
    ['json-file', { 'labels-regex': '(' }, 'invalid value for labels-regex'],
  ])('%s %j is refused', ([driver, options, message]) => {
    expect(() => checkLogOptions(driver, options)).toThrow(message);
  });

  it.for<[driver: string, options: Record<string, string>]>([
    ['json-file', { 'max-size': '10m', 'max-file': '3', compress: 'true', labels: 'a', tag: '{{.Name}}' }],
    ['json-file', { 'max-size': '-1' }],
    ['local', { mode: 'non-blocking', 'max-buffer-size': '4m' }],
    ['syslog', { 'syslog-address': 'udp://127.0.0.1:514', 'syslog-format': 'rfc5424' }],
    ['none', { whatever: '1' }],
  ])('%s %j is taken', ([driver, options]) => {
    expect(() => checkLogOptions(driver, options)).not.toThrow();
  });
});

describe('the file of a log', () => {
  const file = (type: string, options: Record<string, string>) =>
    containerLog({ Type: type, Config: options }, '/c', 'id');

  it.for<[type: string, options: Record<string, string>, path: string, size: number, files: number]>([
    ['json-file', {}, '/c/id-json.log', 100 * 1024 ** 2, 5],
    ['json-file', { 'max-size': '-1' }, '/c/id-json.log', 0, 1],
    ['json-file', { 'max-size': '1.5k' }, '/c/id-json.log', 1536, 1],
    ['json-file', { 'max-size': '2m', 'max-file': '3' }, '/c/id-json.log', 2 * 1024 ** 2, 3],
    ['local', {}, '/c/local-logs/container.log', 20 * 1024 ** 2, 5],
    ['syslog', { 'cache-max-size': '1k', 'cache-max-file': '2' }, '/c/local-logs/container.log', 1024, 2],
  ])('%s %j', ([type, options, path, maxSizeBytes, maxFiles]) => {
    const compress = type !== 'json-file';
    expect(file(type, options)).toEqual({ path, maxSizeBytes, maxFiles, compress });
  });

  it('is none for the driver none', () => {
    expect(file('none', {})).toBeUndefined();
  });
});

describe('attributes', () => {
  const of = { labels: { a: '1', 'com.x': 'y z', other: '2' }, env: ['A=b=c', 'PATH=/bin', 'X'] };

  it('are the labels and variables that the options name', () => {
    expect(logAttributes({ labels: 'a,nope', 'env-regex': '^A' }, of)).toEqual({ a: '1', A: 'b=c' });
    expect(logAttributes({ 'labels-regex': '^com', env: 'PATH' }, of)).toEqual({
      'com.x': 'y z',
      PATH: '/bin',
    });
    expect(logAttributes({}, of)).toEqual({});
  });

  it('are shown sorted, and encoded as Go does', () => {
    expect(attributesText({ b: "it's (a) b*", a: 'x=y,z' })).toBe('a=x%3Dy%2Cz,b=it%27s+%28a%29+b%2A');
  });
});

describe('what is sent on', () => {
  const entry = { stream: 'stderr', text: 'a line\n', time: '2026-03-05T06:07:08.123456789Z' } as const;
  const as = { facility: 3, tag: 'tag', remote: false };

  it.for<[format: string, remote: boolean, pattern: RegExp]>([
    ['', false, /^<27>Mar {2}5 \d\d:\d\d:08 tag\[\d+\]: a line$/],
    ['', true, /^<27>Mar {2}5 \d\d:\d\d:08 \S+ tag\[\d+\]: a line$/],
    ['rfc5424', true, /^<27>1 2026-03-05T06:07:08Z \S+ tag \d+ tag - a line$/],
    ['rfc5424micro', true, /^<27>1 2026-03-05T06:07:08\.123456Z \S+ tag \d+ tag - a line$/],
  ])('to syslog, format %j, remote %j', ([format, remote, pattern]) => {
    expect(encodeSyslog(entry, { ...as, format, remote })).toMatch(pattern);
    expect(encodeSyslog({ ...entry, stream: 'stdout' }, { ...as, format, remote })).toMatch(/^<30>/);
  });

  it('to the journal is what it decodes to', () => {
    const field = fc.stringMatching(/^[A-Z][A-Z_0-9]{0,10}$/);
    fc.assert(
      fc.property(fc.dictionary(field, fc.string({ unit: 'binary' }), { maxKeys: 5 }), (fields) => {
        const texts = Object.fromEntries(
          Object.entries(fields).map(([key, value]) => [key, value.toWellFormed()]),
        );
        expect(decodeJournal(encodeJournal(texts))).toEqual(texts);
      }),
    );
  });
});

function decodeJournal(data: Buffer): Record<string, string> {
  const fields: Record<string, string> = {};
  let at = 0;
  while (at < data.length) {
    const end = data.indexOf('\n', at);
    const line = data.toString('utf8', at, end);
    const equals = line.indexOf('=');
    if (equals >= 0) {
      fields[line.slice(0, equals)] = line.slice(equals + 1);
      at = end + 1;
    } else {
      const length = Number(data.readBigUInt64LE(end + 1));
      fields[line] = data.toString('utf8', end + 9, end + 9 + length);
      at = end + 9 + length + 1;
    }
  }
  return fields;
}
