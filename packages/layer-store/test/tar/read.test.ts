import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  ftruncateSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
  utimesSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { extract } from 'tar-stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeTarHeader, TAR_END, tarEntry, tarPadding } from '../../src/index.ts';
import { encodePaxRecord } from '../../src/tar/pax.ts';
import { TarBuilder } from '../../src/testing/index.ts';
import { collect } from './collect.ts';

let tree: string;
const LONG = `${'d'.repeat(90)}/${'e'.repeat(90)}/${'f'.repeat(90)}`;
beforeAll(() => {
  tree = mkdtempSync(join(tmpdir(), 'tare-tar-'));
  mkdirSync(join(tree, 'dir'), { mode: 0o750 });
  writeFileSync(join(tree, 'dir/file'), 'content\n');
  chmodSync(join(tree, 'dir/file'), 0o4755);
  utimesSync(join(tree, 'dir/file'), 1.5, 1234567890.123456);
  writeFileSync(join(tree, 'empty'), '');
  writeFileSync(join(tree, 'block'), Buffer.alloc(1024, 7));
  linkSync(join(tree, 'dir/file'), join(tree, 'hard'));
  symlinkSync('../nowhere', join(tree, 'soft'));
  mkdirSync(join(tree, LONG), { recursive: true });
  writeFileSync(join(tree, LONG, 'deep'), 'deep');
  symlinkSync('x'.repeat(150), join(tree, 'long-link'));
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/bad-`), Buffer.from([0xff, 0xfe])]), 'not UTF-8');
  const sparse = openSync(join(tree, 'sparse'), 'w');
  for (let i = 1; i <= 30; i++) writeSync(sparse, `piece ${i}`, i * 1024 * 1024);
  ftruncateSync(sparse, 40 * 1024 * 1024);
  closeSync(sparse);
});
afterAll(() => rmSync(tree, { recursive: true, force: true }));

function gnuTar(...options: string[]): Buffer {
  return execFileSync('tar', ['-C', tree, '--sort=name', ...options, '-cf', '-', '.'], {
    maxBuffer: 200 * 1024 * 1024,
  });
}

test.each([
  [
    'ustar',
    ['--format=ustar', '--exclude=bad-*', '--exclude=long-link', '--exclude=ddd*', '--exclude=sparse'],
  ],
  ['v7', ['--format=v7', '--exclude=bad-*', '--exclude=long-link', '--exclude=ddd*', '--exclude=sparse']],
  ['GNU', ['--format=gnu', '--exclude=sparse']],
  ['PAX', ['--format=posix', '--exclude=sparse']],
])('reads what GNU tar writes in the %s format, in chunks of any size', (format, options) => {
  const archive = gnuTar(...options);
  const members = collect(archive);
  const byName = new Map(members.map((member) => [member.name, member]));
  expect(byName.get('./dir/file')).toMatchObject({ type: 'file', mode: 0o4755, size: 8 });
  expect(byName.get('./dir/file')!.content.toString()).toBe('content\n');
  expect(byName.get('./dir/file')!.mtimeNs / 1000n).toBe(
    format === 'PAX' ? 1234567890123456n : 1234567890000000n,
  );
  expect(byName.get('./dir/')).toMatchObject({ type: 'directory', mode: 0o750 });
  expect(byName.get('./hard')).toMatchObject({ type: 'hardlink', linkName: './dir/file', size: 0 });
  expect(byName.get('./soft')).toMatchObject({ type: 'symlink', linkName: '../nowhere' });
  expect(byName.get('./block')!.content).toEqual(Buffer.alloc(1024, 7));
  if (format === 'GNU' || format === 'PAX') {
    expect(byName.get(`./${LONG}/deep`)!.content.toString()).toBe('deep');
    expect(byName.get('./long-link')!.linkName).toBe('x'.repeat(150));
    expect(byName.get('./bad-\xff\xfe')!.content.toString()).toBe('not UTF-8');
  }
  for (const chunkSize of [1, 511, 513, 4096]) expect(collect(archive, chunkSize)).toEqual(members);
});

test.each([
  ['old GNU', ['--format=gnu']],
  ['PAX 0.0', ['--format=posix', '--sparse-version=0.0']],
  ['PAX 0.1', ['--format=posix', '--sparse-version=0.1']],
  ['PAX 1.0', ['--format=posix', '--sparse-version=1.0']],
])('expands sparse files of %s archives', (_, options) => {
  const archive = gnuTar('--sparse', ...options);
  expect(archive.length).toBeLessThan(2 * 1024 * 1024);
  for (const chunkSize of [archive.length, 700]) {
    const member = collect(archive, chunkSize).find(({ name }) => name === './sparse')!;
    expect(member.size).toBe(40 * 1024 * 1024);
    const expected = Buffer.alloc(member.size);
    for (let i = 1; i <= 30; i++) expected.write(`piece ${i}`, i * 1024 * 1024);
    expect(member.content.equals(expected)).toBe(true);
  }
});

test.each([
  ['--format=gnu'],
  ['--format=posix'],
  ['--format=ustar', '--exclude=ddd*', '--exclude=long-link'],
])('agrees with tar-stream about an ordinary archive (%s)', async (...options) => {
  const archive = gnuTar('--exclude=bad-*', '--exclude=sparse', ...options);
  const theirs: unknown[] = [];
  const parser = extract();
  parser.on('entry', (header, stream, next) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk) => chunks.push(chunk as Buffer));
    stream.on('end', () => {
      theirs.push({
        name: header.name,
        type: { link: 'hardlink' }[header.type as string] ?? header.type,
        mode: header.mode,
        uid: header.uid,
        gid: header.gid,
        linkName: header.linkname ?? '',
        seconds: Math.floor(header.mtime!.getTime() / 1000),
        content: Buffer.concat(chunks).toString('hex'),
      });
      next();
    });
  });
  const finished = new Promise<void>((resolve, reject) => parser.on('finish', resolve).on('error', reject));
  parser.end(archive);
  await finished;
  const ours = collect(archive).map((member) => ({
    // tar-stream takes the slash off the names of directories
    name: member.name.replace(/\/$/, ''),
    type: member.type,
    mode: member.mode,
    uid: member.uid,
    gid: member.gid,
    linkName: member.linkName,
    seconds: Number(member.mtimeNs / 1_000_000_000n),
    content: member.content.toString('hex'),
  }));
  expect(ours).toEqual(
    theirs.map((m) => ({ ...(m as object), name: (m as { name: string }).name.replace(/\/$/, '') })),
  );
});

test('keeps the bytes of extended attributes', () => {
  const capability = Buffer.from('0100000200240000000000000000000000000000', 'hex');
  capability[5] = 0x80;
  const archive = new TarBuilder()
    .file('ping', 'x', { xattrs: new Map([['security.capability', capability]]) })
    .build();
  const [member] = collect(archive);
  expect(Buffer.from(member!.xattrs.get('security.capability')!)).toEqual(capability);
});

/** A header block with some bytes replaced and the checksum made right again. */
function block(fields: Record<number, string | Uint8Array>, entry = tarEntry('file', 'name')): Buffer {
  const header = encodeTarHeader(entry);
  for (const [offset, value] of Object.entries(fields)) {
    Buffer.from(value as string, 'latin1').copy(header, Number(offset));
  }
  header.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

/** An extended header of `type` holding `content`. */
function extended(type: string, content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content as string, 'latin1');
  const size = bytes.length.toString(8).padStart(11, '0');
  return Buffer.concat([block({ 124: `${size}\0`, 156: type }), bytes, tarPadding(bytes.length)]);
}

const member = block({});
const negative = Buffer.alloc(12, 0xff);
const huge = Buffer.from([0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);

test.each<[string, Buffer, string]>([
  ['a wrong checksum', Buffer.from(member).fill('7', 148, 154), 'INVALID_TAR'],
  ['a size that is no number', block({ 124: '9999999999a' }), 'INVALID_TAR'],
  ['a negative size', block({ 124: negative }), 'INVALID_TAR'],
  ['a size beyond 2^53', block({ 124: huge }), 'INVALID_TAR'],
  ['a negative uid', block({ 108: Buffer.alloc(8, 0xff) }), 'INVALID_TAR'],
  [
    'the uid -1 in 32 bits',
    block({ 108: Buffer.from([0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]) }),
    'INVALID_TAR',
  ],
  ['an unknown type', block({ 156: 'M' }), 'INVALID_TAR'],
  ['a lone block of zeros', Buffer.concat([Buffer.alloc(512), member]), 'INVALID_TAR'],
  ['a PAX record that is too long', Buffer.concat([extended('x', '99 path=a\n'), member]), 'INVALID_TAR'],
  ['a PAX record that is too short', Buffer.concat([extended('x', '9 path=ab\n'), member]), 'INVALID_TAR'],
  ['a PAX record without a length', Buffer.concat([extended('x', 'path=ab\n'), member]), 'INVALID_TAR'],
  ['a PAX path with a NUL', Buffer.concat([extended('x', '12 path=a\0b\n'), member]), 'INVALID_TAR'],
  ['a PAX size that is no number', Buffer.concat([extended('x', '11 size=-1\n'), member]), 'INVALID_TAR'],
  ['a PAX uid out of range', Buffer.concat([extended('x', '18 uid=4294967295\n'), member]), 'INVALID_TAR'],
  ['a PAX time that is none', Buffer.concat([extended('x', '13 mtime=1e9\n'), member]), 'INVALID_TAR'],
  [
    'a PAX path beside another GNU name',
    Buffer.concat([extended('x', '10 path=a\n'), extended('L', 'b\0'), member]),
    'INVALID_TAR',
  ],
  [
    'two PAX headers for one member',
    Buffer.concat([extended('x', '10 path=a\n'), extended('x', '10 path=a\n'), member]),
    'INVALID_TAR',
  ],
  ['an extended header of 2 GiB', block({ 124: '20000000000\0', 156: 'x' }), 'LIMIT_EXCEEDED'],
  ['a long name of 2 GiB', block({ 124: '20000000000\0', 156: 'L' }), 'LIMIT_EXCEEDED'],
  ['an extended header without a member', extended('x', '10 path=a\n'), 'INVALID_TAR'],
  ['a sparse map without end', sparseForever(), 'LIMIT_EXCEEDED'],
  ['sparse extents that overlap', sparse('4,0,4,2,4', 8), 'INVALID_TAR'],
  ['a sparse extent after the end of the file', sparse('0,4,7,4', 8), 'INVALID_TAR'],
  ['a sparse map that does not match the data', sparse('0,4', 8), 'INVALID_TAR'],
])('refuses %s', (_, bytes, code) => {
  const archive = Buffer.concat([bytes, TAR_END]);
  expect(() => collect(archive)).toThrow(expect.objectContaining({ code }));
  expect(() => collect(archive, 100)).toThrow(expect.objectContaining({ code }));
});

function pax(key: string, value: string): string {
  return encodePaxRecord(key, value);
}

function sparse(map: string, realSize: number): Buffer {
  const header = extended('x', pax('GNU.sparse.size', String(realSize)) + pax('GNU.sparse.map', map));
  return Buffer.concat([header, block({ 124: '00000000010\0' }), Buffer.alloc(512)]);
}

function sparseForever(): Buffer {
  const first = block({
    124: '00000000000\0',
    156: 'S',
    257: 'ustar  \0',
    482: '\x01',
    483: '00000000000\0',
  });
  const extension = Buffer.alloc(512);
  extension[504] = 1;
  return Buffer.concat([first, ...Array.from({ length: 2100 }, () => extension)]);
}

test.each([
  ['inside a header', 300],
  ['inside content', 600],
])('refuses an archive that ends %s', (_, length) => {
  const archive = new TarBuilder().file('a', Buffer.alloc(1000)).build().subarray(0, length);
  expect(() => collect(archive)).toThrow(expect.objectContaining({ code: 'INVALID_TAR' }));
});

test('accepts an archive without an end mark, as GNU tar and Go do', () => {
  const archive = new TarBuilder().file('a', 'abc').build();
  expect(collect(archive.subarray(0, 1024))).toHaveLength(1);
  expect(collect(archive.subarray(0, 515))).toHaveLength(1);
  expect(collect(archive.subarray(0, 1536))).toHaveLength(1);
  expect(collect(Buffer.alloc(0))).toEqual([]);
});

test('ignores what comes after the end mark', () => {
  const archive = Buffer.concat([new TarBuilder().file('a').build(), new TarBuilder().file('b').build()]);
  expect(collect(archive).map(({ name }) => name)).toEqual(['a']);
});

test('believes PAX before GNU before the header, and skips global headers', () => {
  const archive = Buffer.concat([
    extended('g', pax('path', 'global')),
    extended('L', 'long\0'),
    member,
    extended('x', pax('path', 'extended') + pax('uid', '4000000000')),
    member,
    extended('x', pax('path', '')),
    member,
    TAR_END,
  ]);
  expect(collect(archive).map(({ name, uid }) => [name, uid])).toEqual([
    ['long', 0],
    ['extended', 4000000000],
    ['name', 0],
  ]);
});

test('links, devices and directories have no content, whatever their size says', () => {
  const size = { 124: '00000001000\0' };
  const archive = Buffer.concat([
    block(size, tarEntry('hardlink', 'hard', { linkName: 'name' })),
    block(size, tarEntry('directory', 'dir/')),
    member,
    TAR_END,
  ]);
  expect(collect(archive).map(({ name, size }) => [name, size])).toEqual([
    ['hard', 0],
    ['dir/', 0],
    ['name', 0],
  ]);
});
