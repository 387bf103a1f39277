/**
 * User namespaces: containers whose root is nobody outside. Each has one of its own; the ids that its files have on the
 * disk stay as they are, since its root is mounted with the mapping.
 */
import { readFileSync } from 'node:fs';

import { conflict, invalid } from '../errors.ts';
import type { ContainerRecord } from './container.ts';
import { readIfThere } from './etc-files.ts';
import type { HostConfig } from './host-config.ts';

/** Which ids of the host those of a container are: `containerID` 0 is its root. */
export interface IdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

/** The ids of a user namespace. */
export interface IdMaps {
  uidMappings: IdMapping[];
  gidMappings: IdMapping[];
}

/** User namespaces that are bound to files. */
export interface UserNamespaces {
  /** Makes one at `path`, which must not exist. */
  create(path: string, maps: IdMaps): Promise<void>;
  /** Removes it; one that is gone is fine. */
  remove(path: string): Promise<void>;
}

/** A user namespace that nobody else has: with ids of its own, too. Both words mean the same. */
const OWN_MODES: readonly (string | undefined)[] = ['private', 'auto'];

/** Whether a container asks for ids that no other container has. */
export function wantsOwnIds({ UsernsMode: mode }: Pick<HostConfig, 'UsernsMode'>): boolean {
  return OWN_MODES.includes(mode);
}

/** The ids that systemd's convention leaves to containers, and how many of them one gets: as many as images expect. */
const OWN_FIRST = 0x8_0000;
const OWN_END = 0x7000_0000;
const OWN_SIZE = 0x1_0000;

/**
 * Ids for one container: neither anybody's in `taken`, nor granted to a user by /etc/subuid or /etc/subgid, who could do
 * to its processes as to their own.
 *
 * @throws {EngineError} `CONFLICT` when there are none left
 */
export function freeIds(
  taken: readonly IdMaps[],
  read: (path: string) => string | undefined = readIfThere,
): IdMaps {
  const ranges = [
    ...taken.flatMap(({ uidMappings, gidMappings }) => [...uidMappings, ...gidMappings]),
    ...['/etc/subuid', '/etc/subgid'].flatMap((path) => grants(read(path) ?? '')),
  ];
  for (let first = OWN_FIRST; first < OWN_END; first += OWN_SIZE) {
    if (ranges.some(({ hostID, size }) => hostID < first + OWN_SIZE && first < hostID + size)) continue;
    const ids = [{ containerID: 0, hostID: first, size: OWN_SIZE }];
    return { uidMappings: ids, gidMappings: ids };
  }
  throw conflict('there are no ids left for one more user namespace: remove containers that have one');
}

/** The user that dockerd's `default` means. */
const DEFAULT_USER = 'dockremap';

/**
 * The ids that `userns-remap` means: `default`, or `user[:group]` by name or number, for those that /etc/subuid and
 * /etc/subgid grant; or, beyond dockerd, the ids themselves: `first inside:first outside:how many`.
 *
 * @throws {EngineError} `INVALID` when nothing is granted
 */
export function remapOf(
  text: string,
  read: (path: string) => string = (path) => readFileSync(path, 'utf8'),
): IdMaps {
  const [, inside, outside, size] = /^(\d+):(\d+):(\d+)$/.exec(text) ?? [];
  if (size !== undefined) {
    const ids = [{ containerID: Number(inside), hostID: Number(outside), size: Number(size) }];
    return { uidMappings: ids, gidMappings: ids };
  }
  const [userText = '', groupText, ...more] = text === 'default' ? [DEFAULT_USER] : text.split(':');
  if (userText === '' || more.length > 0)
    throw invalid(`invalid userns-remap: ${text}: expected user[:group]`);
  const user = nameIn(read('/etc/passwd'), userText);
  const group = groupText === undefined ? user : nameIn(read('/etc/group'), groupText);
  return {
    uidMappings: granted(read, '/etc/subuid', user),
    gidMappings: granted(read, '/etc/subgid', group),
  };
}

/** Name and number of an entry of passwd(5) or group(5); what is in neither stays as it is. */
function nameIn(text: string, wanted: string): readonly string[] {
  for (const line of text.split('\n')) {
    const [name = '', , id = ''] = line.split(':');
    if (name !== '' && (name === wanted || id === wanted)) return [name, id];
  }
  return [wanted];
}

/** The entries of subuid(5). */
function grants(text: string): { name: string; hostID: number; size: number }[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', from = '', count = ''] = line.split(':');
    if (!/^\d+$/.test(from) || !/^\d+$/.test(count)) return [];
    return [{ name, hostID: Number(from), size: Number(count) }];
  });
}

function granted(read: (path: string) => string, path: string, names: readonly string[]): IdMapping[] {
  let next = 0;
  const ranges: IdMapping[] = [];
  for (const { name, hostID, size } of grants(read(path))) {
    if (!names.includes(name)) continue;
    ranges.push({ containerID: next, hostID, size });
    next += size;
  }
  if (ranges.length > 0) return ranges;
  throw invalid(
    `userns-remap: ${path} grants no ids to ${names[0]}: add a line such as ${names[0]}:100000:65536`,
  );
}

/** What of the engine's configuration a container's user namespace depends on. */
export interface UserNamespacePolicy {
  /** The ids of containers that do not say otherwise; undefined for the host's. */
  remap: IdMaps | undefined;
}

/** The ids of a container that has a user namespace of its own; undefined for one in the host's. */
export function idMapsOf(
  { hostConfig, ownIds }: Pick<ContainerRecord, 'hostConfig' | 'ownIds'>,
  { remap }: UserNamespacePolicy,
): IdMaps | undefined {
  return hostConfig.UsernsMode === 'host' ? undefined : (ownIds ?? remap);
}

/** The owner on the host that one in the container is. @throws {EngineError} `INVALID` for one that is nobody there */
export function ownerOnHost(
  { uidMappings, gidMappings }: IdMaps,
  { uid, gid }: { uid: number; gid: number },
): { uid: number; gid: number } {
  const host = (mappings: readonly IdMapping[], id: number): number => {
    const range = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
    if (!range) throw invalid(`the user namespace of the container has no id ${id}`);
    return id - range.containerID + range.hostID;
  };
  return { uid: host(uidMappings, uid), gid: host(gidMappings, gid) };
}

/** What cannot be had in a user namespace of one's own. @throws {EngineError} `CONFLICT` in dockerd's words */
export function checkUserNamespace(host: HostConfig, { remap }: UserNamespacePolicy): void {
  if (host.UsernsMode === 'host' || !(remap || wantsOwnIds(host))) return;
  if (host.Privileged) {
    throw conflict(
      'privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode',
    );
  }
  if (host.NetworkMode === 'host') {
    throw conflict("cannot share the host's network namespace when user namespaces are enabled");
  }
  if (host.PidMode === 'host') {
    throw conflict('cannot share the host PID namespace when user namespaces are enabled');
  }
}
