/** Who this process is, as far as containers are concerned: what it may do on this machine, and with whose help. */
import { accessSync, constants, existsSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join, resolve } from 'node:path';

import { RuntimeError } from './errors.ts';
import type { Caller } from './plan/context.ts';
import type { DeviceSpec, IdMapping } from './spec/linux.ts';

const CAP_SYS_ADMIN = 1n << 21n;

let known: Caller | undefined;

/** This process. Looked at once. */
export function caller(): Caller {
  return (known ??= look());
}

function look(): Caller {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  const capabilities = BigInt(`0x${line?.[1] ?? '0'}`);
  const [uid, gid] = ['newuidmap', 'newgidmap'].map(program);
  return {
    uid: process.geteuid!(),
    gid: process.getegid!(),
    privileged: (capabilities & CAP_SYS_ADMIN) !== 0n && isInitialUserNamespace(),
    capabilities,
    idTools: uid && gid ? { uid, gid } : undefined,
    findDevice,
  };
}

/** In one of its own, a process has all capabilities and power over nothing of the machine. */
function isInitialUserNamespace(): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
}

/** Where a program of the system is; PATH of an engine may not have it. */
function program(name: string): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/usr/sbin', '/bin', '/sbin'];
  return directories
    .filter((directory) => directory.startsWith('/'))
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        // not there, or not for us: the next one
        return false;
      }
    });
}

/** By its own name, which most have, or by its number, as udev links it. */
function findDevice({ type, path, major = 0, minor = 0 }: DeviceSpec): string | undefined {
  const kind = type === 'b' ? 'block' : 'char';
  return [path, `/dev/${kind}/${major}:${minor}`].find((candidate) => {
    const status = statSync(candidate, { throwIfNoEntry: false });
    const same = type === 'b' ? status?.isBlockDevice() : status?.isCharacterDevice();
    return same === true && status!.rdev === deviceNumber(major, minor);
  });
}

/** As makedev(3) has it. */
function deviceNumber(major: number, minor: number): number {
  return ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & ~0xff) << 12);
}

/** Ids that `/etc/subuid` or `/etc/subgid` grant this user. */
function grants(file: string, uid: number): { first: number; count: number }[] {
  if (!existsSync(file)) return [];
  let name: string | undefined;
  try {
    name = userInfo().username;
  } catch {
    // a user without an entry in the passwd file has its number only
  }
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.trim().split(':'))
    .filter(([owner]) => owner !== undefined && owner !== '' && (owner === name || owner === String(uid)))
    .map(([, first, count]) => ({ first: Number(first), count: Number(count) }))
    .filter(({ first, count }) => Number.isInteger(first) && Number.isInteger(count) && count > 0);
}

/** The caller as root, and the ids granted to it after that, one after the other. */
function mapping(own: number, granted: { first: number; count: number }[]): IdMapping[] {
  const mappings = [{ containerID: 0, hostID: own, size: 1 }];
  for (const { first, count } of granted) {
    const { containerID, size } = mappings.at(-1)!;
    mappings.push({ containerID: containerID + size, hostID: first, size: count });
  }
  return mappings;
}

/** The mappings of a container of this user: all ids that it may use, or without newuidmap its own. */
export function rootlessMappings({ uid, gid, idTools }: Caller): { uids: IdMapping[]; gids: IdMapping[] } {
  const uids = idTools ? grants('/etc/subuid', uid) : [];
  const gids = idTools ? grants('/etc/subgid', uid) : [];
  const both = uids.length > 0 && gids.length > 0;
  return { uids: mapping(uid, both ? uids : []), gids: mapping(gid, both ? gids : []) };
}

/** The mappings of a user namespace that is named by one of its processes; undefined for any other path. */
export function mappingsAt(path: string): { uids: IdMapping[]; gids: IdMapping[] } | undefined {
  const directory = /^(\/proc\/(?:\d+|self))\/ns\/user$/.exec(path)?.[1];
  if (directory === undefined) return undefined;
  const read = (file: string): IdMapping[] =>
    readFileSync(`${directory}/${file}`, 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number))
      .map(([containerID = 0, hostID = 0, size = 0]) => ({ containerID, hostID, size }));
  return { uids: read('uid_map'), gids: read('gid_map') };
}

/** Whether the path is the user namespace that this process is in, which nobody can join again. */
export function isOwnUserNamespace(path: string): boolean {
  try {
    return readlinkSync(path) === readlinkSync('/proc/self/ns/user');
  } catch {
    // a namespace bound to a file is no link
    return false;
  }
}

/**
 * Where a runtime keeps its state when its maker does not say: `/run/tare` for root, `$XDG_RUNTIME_DIR/tare` for others.
 *
 * @throws {RuntimeError} `UNSUPPORTED` for a user without such a directory
 */
export function defaultStateDirectory(): string {
  const { uid } = caller();
  if (uid === 0) return '/run/tare/runtime';
  const directory = process.env['XDG_RUNTIME_DIR'] || `/run/user/${uid}`;
  const status = statSync(directory, { throwIfNoEntry: false });
  if (status?.isDirectory() && status.uid === uid) return resolve(directory, 'tare/runtime');
  throw new RuntimeError(
    'UNSUPPORTED',
    `there is no directory for the state of containers: ${directory} is not user ${uid}'s; set XDG_RUNTIME_DIR or give stateDirectory`,
    { field: 'stateDirectory' },
  );
}
