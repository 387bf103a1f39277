/** Who a container's process is: `Config.User` looked up in the image's own passwd and group files. Pure. */
import { EngineError, invalid } from '../errors.ts';

/** A user as the kernel knows it, and where its home is. */
export interface ResolvedUser {
  uid: number;
  gid: number;
  /** Supplementary groups with the primary one, without duplicates. */
  additionalGids: readonly number[];
  /** From passwd; `/` for a user it does not have. */
  home: string;
}

/** The text of the image's `/etc/passwd` and `/etc/group`; undefined for a file that is not there. */
export interface UserFiles {
  passwd: string | undefined;
  group: string | undefined;
}

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

interface GroupEntry {
  name: string;
  gid: number;
  members: string[];
}

/** 4294967295 is -1, "no id"; anything larger would wrap around to somebody else (CVE-2024-40635). */
const MAX_ID = 4_294_967_294;

/**
 * Resolves `user[:group]`.
 *
 * A number is an id and never a name, even when passwd has a user of that name (CVE-2016-3697). Without a group the
 * user's own one is taken and every group that lists the user is added; with one, only that. `groupAdd` comes on top.
 *
 * @throws {EngineError} `INVALID` for a name the files do not have, or an id out of range
 */
export function resolveUser(user: string, groupAdd: readonly string[], files: UserFiles): ResolvedUser {
  const [userPart = '', groupPart, ...rest] = user.split(':');
  if (rest.length > 0) throw invalid(`invalid user: ${user}: expected user[:group]`);
  const passwd = parsePasswd(files.passwd ?? '');
  const groups = parseGroup(files.group ?? '');

  const wanted = userPart === '' ? '0' : userPart;
  const numeric = parseId(wanted, 'uid');
  const entry = passwd.find(({ name, uid }) => (numeric === undefined ? name === wanted : uid === numeric));
  if (!entry && numeric === undefined) {
    throw invalid(`unable to find user ${wanted}: no matching entries in passwd file`);
  }
  const uid = entry?.uid ?? numeric!;
  const gids = new Set<number>();
  let gid = entry?.gid ?? 0;
  if (groupPart !== undefined && groupPart !== '') gid = groupId(groupPart, groups);
  else if (entry) {
    for (const group of groups) if (group.members.includes(entry.name)) gids.add(group.gid);
  }
  for (const group of groupAdd) gids.add(groupId(group, groups));
  // the primary group too: a process must not shed a group that a file's mode shuts out (CVE-2022-36109)
  return { uid, gid, additionalGids: [...new Set([gid, ...gids])], home: entry?.home || '/' };
}

function groupId(text: string, groups: readonly GroupEntry[]): number {
  const numeric = parseId(text, 'gid');
  if (numeric !== undefined) return numeric;
  const group = groups.find(({ name }) => name === text);
  if (!group) throw invalid(`unable to find group ${text}: no matching entries in group file`);
  return group.gid;
}

/** The number that `text` is; undefined when it is a name. */
function parseId(text: string, kind: 'uid' | 'gid'): number | undefined {
  if (!/^[+-]?\d+$/.test(text)) return undefined;
  const id = Number(text);
  if (id < 0 || id > MAX_ID) {
    throw new EngineError('INVALID', `${kind}s and gids must be in range 0-${MAX_ID}: ${text}`);
  }
  return id;
}

function idField(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d+$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

/** Entries of passwd(5); lines that are not any are skipped, as libc does. */
function parsePasswd(text: string): PasswdEntry[] {
  const entries: PasswdEntry[] = [];
  for (const line of text.split('\n')) {
    const [name = '', , uidText, gidText, , home = ''] = line.split(':');
    const uid = idField(uidText);
    const gid = idField(gidText);
    if (name !== '' && uid !== undefined && gid !== undefined) entries.push({ name, uid, gid, home });
  }
  return entries;
}

/** Entries of group(5). */
function parseGroup(text: string): GroupEntry[] {
  const entries: GroupEntry[] = [];
  for (const line of text.split('\n')) {
    const [name = '', , gidText, members = ''] = line.split(':');
    const gid = idField(gidText);
    if (name !== '' && gid !== undefined) {
      entries.push({ name, gid, members: members.split(',').filter((member) => member !== '') });
    }
  }
  return entries;
}
