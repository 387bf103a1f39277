/**
 * User namespaces that live at a path, for containers that share one: those of a pod, or all of an engine that maps its
 * users. A container joins one by `linux.namespaces[].path`.
 */
import { closeSync, constants, openSync, readSync, unlinkSync, writeFileSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';

import { load } from '#binding';
import { mapLines } from './plan/namespaces.ts';
import { readable, spawnHelper, waitPidfd } from './process.ts';
import type { IdMapping } from './spec/linux.ts';

const MS_BIND = 4096;

/** The ids of a user namespace, as `linux.uidMappings` and `linux.gidMappings` have them. */
export interface UserNamespaceMaps {
  uidMappings: readonly IdMapping[];
  gidMappings: readonly IdMapping[];
}

/**
 * Makes a new user namespace and binds it to `path`, a file that must not exist yet; its folder must. The namespace lives
 * until {@link removeUserNamespace}, whatever happens to this process.
 *
 * @throws {Error} errno codes: `EEXIST`, `EPERM` without root; nothing is left behind
 */
export function createUserNamespace(path: string, maps: UserNamespaceMaps): Promise<void> {
  return nameNamespace('user', path, { maps });
}

/** Unbinds the namespace and removes the file; one that is already gone is fine. */
export function removeUserNamespace(path: string): Promise<void> {
  return load().removeNetworkNamespace(path);
}

/** Makes a namespace in a process of its own, which goes once the namespace has its name. */
export async function nameNamespace(
  kind: 'user' | 'network',
  path: string,
  { owner, maps }: { owner?: string; maps?: UserNamespaceMaps },
): Promise<void> {
  await using undo = new AsyncDisposableStack();
  closeSync(openSync(path, constants.O_RDONLY | constants.O_CREAT | constants.O_EXCL, 0o444));
  undo.defer(() => unlinkSync(path));

  using ends = new DisposableStack();
  const adopt = (fd: number): number => ends.adopt(fd, closeSync);
  const fds = owner === undefined ? [] : [adopt(openSync(owner, constants.O_RDONLY))];
  const [stdin, hold] = load().pipe();
  const [said, stdout] = load().pipe();
  adopt(said);
  const { pid, pidfd } = startKeeper(kind, { stdin, stdout, fds });
  let over = false;
  const end = async (): Promise<number | null> => {
    if (over) return 0;
    over = true;
    closeSync(hold);
    const { code } = await waitPidfd(pidfd);
    closeSync(pidfd);
    return code;
  };
  undo.defer(async () => void (await end()));
  await readable(said);
  if (readSync(said, Buffer.alloc(1)) === 0) {
    const errno = (await end()) ?? 0;
    throw namespaceError(errno, path);
  }
  if (maps) {
    writeFileSync(`/proc/${pid}/uid_map`, mapLines(maps.uidMappings));
    writeFileSync(`/proc/${pid}/gid_map`, mapLines(maps.gidMappings));
  }
  const file = kind === 'user' ? 'user' : 'net';
  load().mount(`/proc/${pid}/ns/${file}`, path, undefined, MS_BIND, undefined);
  await end();
  undo.move();
}

function startKeeper(
  kind: string,
  stdio: { stdin: number; stdout: number; fds: number[] },
): { pid: number; pidfd: number } {
  try {
    return spawnHelper({ argv: ['tare-init', 'namespace', kind], ...stdio });
  } finally {
    closeSync(stdio.stdin);
    closeSync(stdio.stdout);
  }
}

function namespaceError(errno: number, path: string): Error {
  const [code = 'UNKNOWN', reason = 'unknown error'] = getSystemErrorMap().get(-errno) ?? [];
  return Object.assign(new Error(`${code}: ${reason}, unshare '${path}'`), {
    code,
    errno: -errno,
    syscall: 'unshare',
    path,
  });
}
