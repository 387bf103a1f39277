/**
 * User namespaces: containers whose root is nobody outside. Each has one of its own; the ids that its files have on the
 * disk stay as they are, since its root is mounted with the mapping.
 */
import { readFileSync } from 'node:fs';

import { conflict, invalid } from '../errors.ts';
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

function granted(read: (path: string) => string, path: string, names: readonly string[]): IdMapping[] {
  let next = 0;
  const ranges: IdMapping[] = [];
  for (const line of read(path).split('\n')) {
    const [name = '', from = '', count = ''] = line.split(':');
    if (!names.includes(name) || !/^\d+$/.test(from) || !/^\d+$/.test(count)) continue;
    ranges.push({ containerID: next, hostID: Number(from), size: Number(count) });
    next += Number(count);
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
  host: Pick<HostConfig, 'UsernsMode'>,
  { remap }: UserNamespacePolicy,
): IdMaps | undefined {
  return host.UsernsMode === 'host' ? undefined : remap;
}

/** What cannot be had in a user namespace of one's own. @throws {EngineError} `CONFLICT` in dockerd's words */
export function checkUserNamespace(host: HostConfig, policy: UserNamespacePolicy): void {
  if (!idMapsOf(host, policy)) return;
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
