/** The written record of subnets and addresses, and processes that share it. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { parseCidr } from '../src/address-range.ts';
import { openAddressBook, type AddressBook } from '../src/index.ts';
import { AddressAllocator } from '../src/ipam.ts';

const range = (text: string) => parseCidr(text).range;

describe('an address book', () => {
  let folder: string;
  let path: string;
  let book: AddressBook;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tare-book-'));
    path = join(folder, 'book.db');
    book = openAddressBook(path);
  });
  afterEach(async () => {
    book[Symbol.dispose]();
    book[Symbol.dispose]();
    await rm(folder, { recursive: true });
  });

  it('gives a subnet to one network alone, of either family', () => {
    expect(book.claim('a', [range('10.0.0.0/16'), range('fd00::/64')])).toBeUndefined();
    expect(book.claim('b', [range('10.0.5.0/24')])).toEqual({ networkId: 'a', subnet: '10.0.0.0/16' });
    expect(book.claim('b', [range('10.1.0.0/24'), range('fd00::/80')])).toMatchObject({ networkId: 'a' });
    // none of them is taken then
    expect(book.subnets()).toHaveLength(2);
    expect(book.claim('b', [range('fd00:0:0:1::/64')])).toBeUndefined();
    // its own it may have again, and others instead
    expect(book.claim('a', [range('10.2.0.0/16')])).toBeUndefined();
    expect(book.claim('b', [range('10.0.5.0/24')])).toBeUndefined();
    book.forget('b');
    expect(book.subnets()).toEqual([{ networkId: 'a', subnet: '10.2.0.0/16' }]);
  });

  it('gives an address to one owner, until it is given back', () => {
    expect(book.take('n', '10.0.0.2', 'one')).toBe(true);
    expect(book.take('n', '10.0.0.2', 'one')).toBe(true);
    expect(book.take('n', '10.0.0.2', 'two')).toBe(false);
    expect(book.take('m', '10.0.0.2', 'two')).toBe(true);
    book.release('n', '10.0.0.2');
    book.release('n', '10.0.0.2');
    expect(book.take('n', '10.0.0.2', 'two')).toBe(true);
    book.retain('n', new Set(['somebody']));
    expect(book.take('n', '10.0.0.2', 'three')).toBe(true);
  });

  it('keeps the next process from what was just given back, while there is something else', () => {
    const allocator = (from: AddressBook) =>
      new AddressAllocator({ subnet: range('10.0.0.0/29'), book: { book: from, networkId: 'n' } });
    const first = allocator(book);
    expect(first.allocate(undefined, 'a')).toBe('10.0.0.2');
    expect(first.allocate(undefined, 'b')).toBe('10.0.0.3');
    first.release('10.0.0.2');
    using again = openAddressBook(path);
    const second = allocator(again);
    expect(['c', 'd', 'e'].map((owner) => second.allocate(undefined, owner))).toEqual([
      '10.0.0.4',
      '10.0.0.5',
      '10.0.0.6',
    ]);
    expect(second.allocate(undefined, 'f')).toBe('10.0.0.2');
    expect(() => second.allocate(undefined, 'g')).toThrow(
      expect.objectContaining({ code: 'NO_FREE_ADDRESS' }),
    );
    expect(() => second.allocate('10.0.0.3', 'g')).toThrow(
      expect.objectContaining({ code: 'ADDRESS_IN_USE' }),
    );
    expect(second.allocate('10.0.0.3', 'b')).toBe('10.0.0.3');
  });

  it('says what it cannot open', () => {
    expect(() => openAddressBook(folder)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
  });

  it('gives four processes that ask at once 200 addresses, each one once, also when one of them is killed', async () => {
    const script = `
      const { openAddressBook } = await import(${JSON.stringify(join(import.meta.dirname, '../src/index.ts'))});
      const { AddressAllocator } = await import(${JSON.stringify(join(import.meta.dirname, '../src/ipam.ts'))});
      const { parseCidr } = await import(${JSON.stringify(join(import.meta.dirname, '../src/address-range.ts'))});
      const book = openAddressBook(process.argv[1]);
      const addresses = new AddressAllocator({
        subnet: parseCidr('10.0.0.0/24').range, book: { book, networkId: 'n' },
      });
      for (let i = 0; i < 50; i++) console.log(addresses.allocate(undefined, process.pid + '-' + i));`;
    const heard: string[] = [];
    await Promise.all(
      [0, 1, 2, 3].map(async (which) => {
        const args = [
          '--conditions=@tare/source',
          '--no-warnings',
          '--input-type=module',
          '-e',
          script,
          path,
        ];
        const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
        let count = 0;
        createInterface(child.stdout).on('line', (line) => {
          heard.push(line);
          count += 1;
          if (which === 3 && count === 10) child.kill('SIGKILL');
        });
        await once(child, 'close');
      }),
    );
    expect(new Set(heard).size).toBe(heard.length);
    expect(heard.length).toBeGreaterThanOrEqual(160);
    // whatever the killed one took and did not tell is on record, and is given back when nobody claims it
    const own = new Set(book.taken('n'));
    expect(heard.every((address) => own.has(address))).toBe(true);
    book.retain('n', new Set());
    expect(book.take('n', heard[0]!, 'new')).toBe(true);
  });
});
