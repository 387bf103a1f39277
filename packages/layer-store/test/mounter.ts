/** Mounts for snapshotters that need them, in this process's mount namespace. */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { mountAt, unmount } from '@tare/runtime-native/syscalls';
import type { Mounter } from '../src/index.ts';

export const mounter: Mounter = {
  mount: mountAt,
  unmount: (target) => void unmount(target, { lazy: true }),
};

/** Whether the kernel mounts EROFS images from files: Linux 6.12. */
export function mountsErofs(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const known = /\berofs\b/.test(readFileSync('/proc/filesystems', 'utf8'));
  return process.getuid?.() === 0 && known && (major > 6 || (major === 6 && minor >= 12));
}
