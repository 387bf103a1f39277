import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';

import { expect, test } from 'vitest';

import { closeFds } from '../src/process.ts';
import { getWindowSize, openPseudoTerminal, setWindowSize } from '../src/terminal.ts';

test.skipIf(process.platform !== 'linux')('a pseudo-terminal passes text and sizes between its ends', () => {
  const { master, slave, number } = openPseudoTerminal();
  expect(isatty(slave)).toBe(true);
  expect(fstatSync(slave).rdev & 0xff).toBe(number & 0xff);
  writeSync(slave, 'text\n');
  const buffer = Buffer.alloc(20);
  expect(buffer.toString('utf8', 0, readSync(master, buffer))).toBe('text\r\n');
  setWindowSize(master, { columns: 132, rows: 43 });
  expect(getWindowSize(slave)).toEqual({ columns: 132, rows: 43 });
  closeFds([master, slave]);
});

test.skipIf(process.platform !== 'linux')('sizes of what is no terminal are refused', () => {
  const fd = openSync('/dev/null', 'r');
  expect(() => getWindowSize(fd)).toThrowError(expect.objectContaining({ code: 'ENOTTY' }));
  closeSync(fd);
});
