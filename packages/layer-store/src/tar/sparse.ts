/** The four ways in which GNU tar writes a file with holes: old header maps, and PAX versions 0.0, 0.1 and 1.0. */
import { LayerStoreError } from '../errors.ts';
import { number } from './header.ts';
import { parsePaxNumber, type PaxRecord } from './pax.ts';

/** A piece of data between holes, in bytes. */
export interface SparseExtent {
  offset: number;
  length: number;
}

/** How the content of a sparse file lies in the file. */
export interface SparseMap {
  extents: SparseExtent[];
  /** Size of the file, holes included. */
  realSize: number;
}

/** What a PAX header says about holes. */
export interface PaxSparse {
  /** The map of versions 0.0 and 0.1; undefined in 1.0, where it comes before the data. */
  extents: SparseExtent[] | undefined;
  realSize: number;
  /** Version 1.0 and 0.1 keep the true name here, so that other readers see an obviously odd one. */
  name: Buffer | undefined;
}

/** Reads the GNU.sparse.* records; undefined when there are none. @throws {LayerStoreError} `INVALID_TAR` */
export function decodePaxSparse(records: PaxRecord[]): PaxSparse | undefined {
  const value = (key: string): string | undefined =>
    records.findLast((record) => record.key === `GNU.sparse.${key}`)?.value.toString('latin1');
  const name = records.findLast((record) => record.key === 'GNU.sparse.name')?.value;
  const major = value('major');
  if (major === '1') {
    if (value('minor') !== '0') throw invalid(`unknown version 1.${value('minor')}`);
    return {
      extents: undefined,
      realSize: parsePaxNumber(value('realsize') ?? '', 'GNU.sparse.realsize'),
      name,
    };
  }
  if (major !== undefined && major !== '0') throw invalid(`unknown version ${major}`);
  const size = value('size');
  if (size === undefined) return undefined;
  const realSize = parsePaxNumber(size, 'GNU.sparse.size');
  const map = value('map');
  const numbers =
    map === undefined ? pairsOfRecords(records) : map.split(',').map((n) => parsePaxNumber(n, 'sparse map'));
  const count = value('numblocks');
  if (count !== undefined && parsePaxNumber(count, 'GNU.sparse.numblocks') * 2 !== numbers.length) {
    throw invalid('the number of blocks does not match the map');
  }
  return { extents: toExtents(numbers), realSize, name };
}

/** Version 0.0 repeats offset and numbytes records, which only makes sense in order. */
function pairsOfRecords(records: PaxRecord[]): number[] {
  const numbers: number[] = [];
  for (const { key, value } of records) {
    const wanted = numbers.length % 2 === 0 ? 'GNU.sparse.offset' : 'GNU.sparse.numbytes';
    if (key !== 'GNU.sparse.offset' && key !== 'GNU.sparse.numbytes') continue;
    if (key !== wanted) throw invalid('offset and numbytes do not alternate');
    numbers.push(parsePaxNumber(value.toString('latin1'), key));
  }
  return numbers;
}

function toExtents(numbers: number[]): SparseExtent[] {
  if (numbers.length % 2 !== 0) throw invalid('the map has an odd number of numbers');
  const extents: SparseExtent[] = [];
  for (let i = 0; i < numbers.length; i += 2) extents.push({ offset: numbers[i]!, length: numbers[i + 1]! });
  return extents;
}

/**
 * Reads up to `count` extents of an old GNU map at `offset` in a header (4 of them) or extension block (21).
 * A length and offset of nothing end it.
 */
export function decodeGnuExtents(buffer: Buffer, offset: number, count: number): SparseExtent[] {
  const extents: SparseExtent[] = [];
  for (let i = 0; i < count; i++) {
    const at = offset + i * 24;
    if (buffer[at] === 0) break;
    extents.push({
      offset: number(buffer, at, 12, 'sparse offset'),
      length: number(buffer, at + 12, 12, 'sparse length'),
    });
  }
  return extents;
}

/** Collects the decimal numbers that precede the data in version 1.0: their count, then pairs, one to a line. */
export class SparseMapText {
  #numbers: number[] = [];
  #digits = '';

  /** Takes one block; returns the extents when the map is complete, and ignores the rest of that block. */
  push(block: Buffer): SparseExtent[] | undefined {
    for (const byte of block) {
      if (byte !== 0x0a) {
        this.#digits += String.fromCharCode(byte);
        if (this.#digits.length > 16) throw invalid('a number in the map is too long');
        continue;
      }
      this.#numbers.push(parsePaxNumber(this.#digits, 'sparse map'));
      this.#digits = '';
      if (this.#numbers.length === 1 + 2 * this.#numbers[0]!) return toExtents(this.#numbers.slice(1));
    }
    return undefined;
  }
}

/**
 * Checks that the extents ascend, do not overlap, lie inside the file and account for all stored bytes.
 *
 * @throws {LayerStoreError} `INVALID_TAR`
 */
export function validateSparse({ extents, realSize }: SparseMap, storedSize: number): void {
  let end = 0;
  let stored = 0;
  for (const extent of extents) {
    if (extent.offset < end) throw invalid('its extents overlap or are out of order');
    end = extent.offset + extent.length;
    if (end > realSize) throw invalid('an extent ends after the end of the file');
    stored += extent.length;
  }
  if (stored !== storedSize)
    throw invalid(`its extents hold ${stored} bytes, but ${storedSize} are in the archive`);
}

function invalid(why: string): LayerStoreError {
  return new LayerStoreError('INVALID_TAR', `malformed sparse file: ${why}`);
}
