/** The namespaces of a spec: which there are, what contradicts what, and the user namespace with its ids. */
import { CAPABILITIES } from '../spec/capabilities.ts';
import type { ProcessSpec, Spec } from '../spec/config.ts';
import type { IdMapping, NamespaceSpec } from '../spec/linux.ts';
import type { Caller } from './context.ts';
import type { Operation } from './operations.ts';
import { cannot, invalid } from './validate.ts';

/** CLONE_NEW… flags by the spec's names. */
export const CLONE_FLAGS: Readonly<Record<NamespaceSpec['type'], number>> = {
  mount: 0x0002_0000,
  cgroup: 0x0200_0000,
  uts: 0x0400_0000,
  ipc: 0x0800_0000,
  user: 0x1000_0000,
  pid: 0x2000_0000,
  network: 0x4000_0000,
  time: 0x80,
};

/** The namespaces of a spec by kind; one entry of a kind. */
export type Namespaces = ReadonlyMap<NamespaceSpec['type'], NamespaceSpec>;

/** The user namespace of a container. */
export interface UserNamespace {
  /** One to join; otherwise a new one is made. */
  path: string | undefined;
  uids: readonly IdMapping[];
  gids: readonly IdMapping[];
  /** The caller's power reaches outside of it: the host's files, devices and cgroups can be had for the container. */
  privileged: boolean;
  /** Programs that write the maps: the caller may not map more than itself. */
  tools: { uid: string; gid: string };
  /** The price of mapping one's own gid without a program: nobody in there may call setgroups(2). */
  deniesSetgroups: boolean;
}

/** Flag of USER_NAMESPACE and USER. */
const DENY_SETGROUPS = 1;
/** Lines that the kernel takes in a map. */
const MAX_MAPPINGS = 340;
/** Every capability there is: what the first process of a user namespace has in it. */
const ALL_CAPABILITIES = (1n << BigInt(CAPABILITIES.length)) - 1n;

/** @throws {RuntimeError} `INVALID_SPEC` with the field that contradicts another one */
export function readNamespaces(spec: Spec): Namespaces {
  const namespaces = new Map<NamespaceSpec['type'], NamespaceSpec>();
  (spec.linux?.namespaces ?? []).forEach((namespace, i) => {
    const field = `linux.namespaces[${i}]`;
    if (namespaces.has(namespace.type)) throw invalid(field, `is a second ${namespace.type} namespace`);
    namespaces.set(namespace.type, namespace);
  });
  const mount = namespaces.get('mount');
  if (!mount) throw invalid('linux.namespaces', 'must have a mount namespace');
  if (mount.path !== undefined) refuseFileSystems(spec);
  const time = namespaces.get('time');
  if (Object.keys(spec.linux?.timeOffsets ?? {}).length > 0 && (!time || time.path !== undefined)) {
    throw invalid('linux.timeOffsets', 'needs a new time namespace: a clock with users cannot be shifted');
  }
  return namespaces;
}

/** A mount namespace that is joined has its file systems, and others live in them. */
function refuseFileSystems(spec: Spec): void {
  const { linux = {} } = spec;
  const asked: [field: string, present: unknown][] = [
    ['root', spec.root],
    ['mounts', spec.mounts?.length],
    ['linux.devices', linux.devices?.length],
    ['linux.maskedPaths', linux.maskedPaths?.length],
    ['linux.readonlyPaths', linux.readonlyPaths?.length],
    ['linux.rootfsPropagation', linux.rootfsPropagation],
  ];
  for (const [field, present] of asked) {
    if (present) throw invalid(field, 'must be left out when a mount namespace is joined: it is as it is');
  }
}

function checkMappings(mappings: readonly IdMapping[], field: string): void {
  if (mappings.length > MAX_MAPPINGS) throw invalid(field, `has more than ${MAX_MAPPINGS} entries`);
  for (const side of ['containerID', 'hostID'] as const) {
    const sorted = mappings
      .map((mapping, i) => ({ first: mapping[side], end: mapping[side] + mapping.size, i }))
      .toSorted((a, b) => a.first - b.first);
    sorted.forEach(({ first, end, i }, at) => {
      // the last of the 2^32 numbers means "no id"
      if (end > 0xffff_ffff) throw invalid(`${field}[${i}].size`, 'reaches past the last id, 4294967294');
      const before = sorted[at - 1];
      if (before && before.end > first) {
        throw invalid(`${field}[${i}].${side}`, `overlaps ${field}[${before.i}]`);
      }
    });
  }
}

/** The id outside that a container's id stands for; undefined when nothing maps it. */
export function hostId(mappings: readonly IdMapping[], id: number): number | undefined {
  const found = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return found && id - found.containerID + found.hostID;
}

/** Whether a caller without power may write this map: itself, once. */
function isSelf(mappings: readonly IdMapping[], id: number): boolean {
  return mappings.length === 1 && mappings[0]!.size === 1 && mappings[0]!.hostID === id;
}

/**
 * The user namespace that the spec asks for, if any.
 *
 * @throws {RuntimeError} `INVALID_SPEC` or `UNSUPPORTED` with the field
 */
export function userNamespaceOf(
  spec: Spec,
  namespaces: Namespaces,
  caller: Caller,
): UserNamespace | undefined {
  const namespace = namespaces.get('user');
  const { uidMappings: uids = [], gidMappings: gids = [] } = spec.linux ?? {};
  const fields = [
    ['linux.uidMappings', uids],
    ['linux.gidMappings', gids],
  ] as const;
  for (const [field, mappings] of fields) {
    if (!namespace && mappings.length > 0) throw invalid(field, 'needs a user namespace in linux.namespaces');
    if (namespace && mappings.length === 0) {
      throw invalid(field, 'must be given with a user namespace: the ids that its users have outside');
    }
    checkMappings(mappings, field);
  }
  if (!namespace) {
    if (caller.privileged) return undefined;
    throw cannot('linux.namespaces', 'needs a user namespace: whoever is not root makes containers in one');
  }
  const user = { path: namespace.path, uids, gids, privileged: caller.privileged };
  if (caller.privileged || namespace.path !== undefined) {
    return {
      ...user,
      tools: { uid: '', gid: '' },
      deniesSetgroups: !caller.privileged && isSelf(gids, caller.gid),
    };
  }
  const own = { uid: isSelf(uids, caller.uid), gid: isSelf(gids, caller.gid) };
  for (const kind of ['uid', 'gid'] as const) {
    if (own[kind] || caller.idTools) continue;
    throw cannot(
      `linux.${kind}Mappings`,
      `needs new${kind}map (package uidmap): without it this ${kind}, ${caller[kind]}, is the only one that can be mapped`,
    );
  }
  const tools = { uid: own.uid ? '' : caller.idTools!.uid, gid: own.gid ? '' : caller.idTools!.gid };
  return { ...user, tools, deniesSetgroups: own.gid };
}

/** The lines of a map, as the kernel takes them. */
export const mapLines = (mappings: readonly IdMapping[]): string =>
  mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join('');

/** Entering it: from here on the process is the first user in there. */
export function userOperation(user: UserNamespace): Operation {
  if (user.path !== undefined) return ['NAMESPACE_JOIN', CLONE_FLAGS.user, user.path];
  const { uids, gids, tools, deniesSetgroups } = user;
  const flags = deniesSetgroups ? DENY_SETGROUPS : 0;
  return ['USER_NAMESPACE', flags, mapLines(uids), mapLines(gids), tools.uid, tools.gid];
}

/** Who runs the process, as far as the user namespace decides on it. */
export interface ProcessIdentity {
  /** Capabilities that can be given. */
  available: bigint;
  /** Flags of USER. */
  userFlags: number;
}

/** @throws {RuntimeError} `INVALID_SPEC` or `UNSUPPORTED` for a user that cannot be in the namespace */
export function identityOf(
  process: ProcessSpec,
  user: UserNamespace | undefined,
  caller: Caller,
): ProcessIdentity {
  if (!user) return { available: caller.capabilities, userFlags: 0 };
  const { uid, gid, additionalGids = [] } = process.user;
  const check = (field: string, id: number, kind: 'uid' | 'gid'): void => {
    if (hostId(user[`${kind}s`], id) !== undefined) return;
    throw invalid(`process.user.${field}`, `${id} has no mapping in linux.${kind}Mappings`);
  };
  check('uid', uid, 'uid');
  check('gid', gid, 'gid');
  additionalGids.forEach((group, i) => check(`additionalGids[${i}]`, group, 'gid'));
  if (user.deniesSetgroups && additionalGids.length > 0) {
    throw cannot(
      'process.user.additionalGids',
      'cannot be had where a gid was mapped without newgidmap (package uidmap): the kernel then allows no groups',
    );
  }
  return { available: ALL_CAPABILITIES, userFlags: user.deniesSetgroups ? DENY_SETGROUPS : 0 };
}
