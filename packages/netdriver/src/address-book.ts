/**
 * A written record of subnets and addresses, for processes that share them: each is written down before it is used, in
 * one step that only one process can win.
 */

import { NetworkError } from './errors.ts';
import { formatRange, type AddressRange } from './address-range.ts';

/** Who has which subnet and which address. Every call is one transaction and is done when it returns. */
export interface AddressBook extends Disposable {
  /**
   * Writes down the subnets of a network in place of what it had.
   *
   * @returns undefined, or the network and the subnet of it that one of these overlaps; then nothing was written
   */
  claim(
    networkId: string,
    subnets: readonly AddressRange[],
  ): { networkId: string; subnet: string } | undefined;
  /** Forgets a network with its subnets and addresses. */
  forget(networkId: string): void;
  /** Every subnet of every network. */
  subnets(): { networkId: string; subnet: string }[];
  /** Whether the address is now `owner`'s: false when it is somebody else's. */
  take(networkId: string, address: string, owner: string): boolean;
  /** Gives an address back; what is not taken is passed by. */
  release(networkId: string, address: string): void;
  /** Addresses of a network that are taken, and then those that were given back lately, the longest ago first. */
  taken(networkId: string): string[];
  /** Gives back every address of a network whose owner is not among these. */
  retain(networkId: string, owners: ReadonlySet<string>): void;
}

/** How long to wait for another process, in milliseconds. Each transaction takes well below one. */
const BUSY_TIMEOUT_MS = 5000;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS subnet (
    network TEXT NOT NULL, family INTEGER NOT NULL, low BLOB NOT NULL, high BLOB NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (network, name)
  ) STRICT, WITHOUT ROWID;
  -- released: a number that grows with each release, null while the address is taken
  CREATE TABLE IF NOT EXISTS address (
    network TEXT NOT NULL, address TEXT NOT NULL, owner TEXT, released INTEGER,
    PRIMARY KEY (network, address)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS released ON address (network, released);
`;

/**
 * Opens the book in a file of SQLite, made when it is not there. Any number of processes may have it open; what was
 * written survives the death of them all.
 *
 * @throws {NetworkError} `INVALID_CONFIG` when the file cannot be opened
 */
export function openAddressBook(path: string): AddressBook {
  // asked for by name at call time: the module prints a warning when it is loaded, and other platforms lack nothing else
  const { DatabaseSync } = process.getBuiltinModule('node:sqlite');
  let db: InstanceType<typeof DatabaseSync>;
  try {
    db = new DatabaseSync(path);
    db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
    // what a power cut can take back are the last addresses, whose endpoints it took, too
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    db.exec(SCHEMA);
  } catch (cause) {
    throw new NetworkError('INVALID_CONFIG', `the address book ${path} cannot be opened`, { cause });
  }
  const statements = {
    overlap: db.prepare(
      'SELECT network, name FROM subnet WHERE network <> ? AND family = ? AND low <= ? AND high >= ? LIMIT 1',
    ),
    dropSubnets: db.prepare('DELETE FROM subnet WHERE network = ?'),
    addSubnet: db.prepare(
      'INSERT OR IGNORE INTO subnet (network, family, low, high, name) VALUES (?, ?, ?, ?, ?)',
    ),
    subnets: db.prepare('SELECT network, name FROM subnet'),
    dropAddresses: db.prepare('DELETE FROM address WHERE network = ?'),
    take: db.prepare(
      `INSERT INTO address (network, address, owner) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET owner = excluded.owner, released = NULL
       WHERE owner IS NULL OR owner = excluded.owner`,
    ),
    release: db.prepare(
      `UPDATE address SET owner = NULL,
         released = (SELECT coalesce(max(released), 0) + 1 FROM address WHERE network = ?1)
       WHERE network = ?1 AND address = ?2 AND owner IS NOT NULL`,
    ),
    trim: db.prepare(
      `DELETE FROM address WHERE network = ?1
         AND released <= (SELECT max(released) FROM address WHERE network = ?1) - ${RELEASED_KEPT}`,
    ),
    taken: db.prepare(
      'SELECT address FROM address WHERE network = ? ORDER BY owner IS NULL, released, address',
    ),
    owned: db.prepare('SELECT address, owner FROM address WHERE network = ? AND owner IS NOT NULL'),
  };
  const transaction = <T>(run: () => T): T => {
    db.exec('BEGIN IMMEDIATE');
    try {
      const result = run();
      db.exec('COMMIT');
      return result;
    } catch (error) {
      db.exec('ROLLBACK');
      throw error;
    }
  };
  const release = (networkId: string, address: string): void => {
    statements.release.run(networkId, address);
    statements.trim.run(networkId);
  };
  return {
    claim: (networkId, subnets) =>
      transaction(() => {
        for (const { family, first, last } of subnets) {
          const found = statements.overlap.get(networkId, family, sortable(last), sortable(first));
          if (found) return { networkId: String(found['network']), subnet: String(found['name']) };
        }
        statements.dropSubnets.run(networkId);
        for (const range of subnets) {
          const { family, first, last } = range;
          statements.addSubnet.run(networkId, family, sortable(first), sortable(last), formatRange(range));
        }
        return undefined;
      }),
    forget: (networkId) =>
      transaction(() => {
        statements.dropSubnets.run(networkId);
        statements.dropAddresses.run(networkId);
      }),
    subnets: () =>
      statements.subnets
        .all()
        .map((row) => ({ networkId: String(row['network']), subnet: String(row['name']) })),
    take: (networkId, address, owner) => statements.take.run(networkId, address, owner).changes === 1,
    release: (networkId, address) => transaction(() => release(networkId, address)),
    taken: (networkId) => statements.taken.all(networkId).map((row) => String(row['address'])),
    retain: (networkId, owners) =>
      transaction(() => {
        for (const { address, owner } of statements.owned.all(networkId)) {
          if (!owners.has(String(owner))) release(networkId, String(address));
        }
      }),
    [Symbol.dispose]: () => {
      if (db.isOpen) db.close();
    },
  };
}

/** Addresses given back that are remembered, so that the next process does not give them out at once. */
const RELEASED_KEPT = 64;

/** 16 bytes, big endian: blobs compare as the numbers do. */
function sortable(value: bigint): Uint8Array {
  return Buffer.from(value.toString(16).padStart(32, '0'), 'hex');
}
