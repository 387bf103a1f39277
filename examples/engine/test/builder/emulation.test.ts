/** Which programs a machine runs, by the kernel's list of interpreters. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parsePlatform } from '@tare/image-spec';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { platformObstacle } from '../../src/builder/emulation.ts';

let handlers: string;
beforeEach(() => {
  handlers = mkdtempSync(join(tmpdir(), 'tare-binfmt-'));
});
afterEach(() => rmSync(handlers, { recursive: true, force: true }));

const here = parsePlatform('linux/amd64');
const obstacle = (platform: string, own = here): string | undefined =>
  platformObstacle(parsePlatform(platform), handlers, own);

/** As the kernel shows what Debian's qemu-user-static registers. */
const QEMU_ARM64 = [
  'enabled',
  'interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P',
  'flags: POF',
  'offset 0',
  'magic 7f454c460201010000000000000000000200b700',
  'mask ffffffffffffff00fffffffffffffffffeffffff',
  '',
].join('\n');

test('a machine runs its own programs, and the small ones of its family', () => {
  expect(obstacle('linux/amd64')).toBeUndefined();
  expect(obstacle('linux/386')).toBeUndefined();
  expect(obstacle('linux/arm/v7', parsePlatform('linux/arm64'))).toBeUndefined();
});

test('others need an interpreter of theirs that is enabled', () => {
  expect(obstacle('linux/arm64')).toContain('linux/amd64) does not run programs of linux/arm64');
  writeFileSync(join(handlers, 'status'), 'enabled\n');
  writeFileSync(join(handlers, 'qemu-aarch64'), QEMU_ARM64.replace('enabled', 'disabled'));
  expect(obstacle('linux/arm64')).toContain('qemu-user-static');
  writeFileSync(join(handlers, 'qemu-aarch64'), QEMU_ARM64);
  expect(obstacle('linux/arm64')).toBeUndefined();
  expect(obstacle('linux/riscv64')).toBeDefined();
});

test('big-endian machines, scripts and other systems are told apart', () => {
  writeFileSync(join(handlers, 'python'), 'enabled\ninterpreter /usr/bin/python3\nflags: \nextension .pyc\n');
  expect(obstacle('linux/s390x')).toBeDefined();
  writeFileSync(
    join(handlers, 'qemu-s390x'),
    'enabled\ninterpreter /q\nflags: F\noffset 0\nmagic 7f454c4602020100000000000000000000020016\nmask ffffffffffffff00fffffffffffffffffffeffff\n',
  );
  expect(obstacle('linux/s390x')).toBeUndefined();
  expect(obstacle('windows/amd64')).toBeDefined();
});

test('without the list there are no interpreters', () => {
  expect(platformObstacle(parsePlatform('linux/arm64'), join(handlers, 'missing'), here)).toBeDefined();
});
