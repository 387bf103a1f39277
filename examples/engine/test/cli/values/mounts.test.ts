import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/cli/errors.ts';
import { splitCsv } from '../../../src/cli/values/csv.ts';
import { parseMount, parseTmpfs, parseVolume } from '../../../src/cli/values/mounts.ts';

describe('--volume', () => {
  it.for([
    ['/data', { volume: '/data' }],
    ['name:/data', { bind: 'name:/data' }],
    ['/a:/b:ro,z', { bind: '/a:/b:ro,z' }],
    ['./x:/b', { bind: '/cwd/x:/b' }],
    ['..:/b:ro', { bind: '/:/b:ro' }],
    ['.hidden:/b', { bind: '.hidden:/b' }],
  ] as const)('reads %s', ([text, expected]) => {
    expect(parseVolume(text, '/cwd')).toEqual(expected);
  });

  it.for([':/a', 'a:', 'a::b'])('refuses %s', (text) => {
    expect(() => parseVolume(text, '/cwd')).toThrow(UsageError);
  });
});

it('reads --tmpfs with and without options', () => {
  expect(parseTmpfs('/t')).toEqual(['/t', '']);
  expect(parseTmpfs('/t:size=1m,mode=700')).toEqual(['/t', 'size=1m,mode=700']);
});

describe('--mount', () => {
  it.for([
    ['type=bind,src=/a,dst=/b,readonly', { Type: 'bind', Source: '/a', Target: '/b', ReadOnly: true }],
    ['source=v,target=/v', { Type: 'volume', Source: 'v', Target: '/v' }],
    [
      'type=bind,source=./a,destination=/b,ro=false',
      { Type: 'bind', Source: '/cwd/a', Target: '/b', ReadOnly: false },
    ],
    [
      'type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777',
      { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 1_048_576, Mode: 0o1777 } },
    ],
    [
      'TYPE=volume,src=v,dst=/v,"volume-opt=o=a,b",volume-opt=type=nfs,volume-nocopy',
      {
        Type: 'volume',
        Source: 'v',
        Target: '/v',
        VolumeOptions: { NoCopy: true, DriverConfig: { Options: { o: 'a,b', type: 'nfs' } } },
      },
    ],
  ] as const)('reads %s', ([text, expected]) => {
    expect(parseMount(text, '/cwd')).toEqual(expected);
  });

  it.for([
    ['', 'value is empty'],
    ['type=bind', 'target is required'],
    ['type=bind,src', "invalid field 'src' must be a key=value pair"],
    ['type=bind,foo=1,dst=/a', "unexpected key 'foo' in 'foo=1'"],
    ['type=bind,dst=/a,volume-nocopy', "cannot mix 'volume-*' options with mount type 'bind'"],
    ['type=bind,dst=/a,ro=x', 'invalid value for ro: x'],
  ] as const)('refuses %s', ([text, message]) => {
    expect(() => parseMount(text, '/cwd')).toThrow(message);
  });
});

describe('CSV', () => {
  it('reads back what was quoted', () => {
    const quote = (field: string): string =>
      /[",]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1 }), (fields) => {
        expect(splitCsv(fields.map(quote).join(','))).toEqual(fields);
      }),
    );
  });

  it.for(['a"b', '"a', '"a"b'])('refuses %s', (text) => {
    expect(() => splitCsv(text)).toThrow(UsageError);
  });
});
