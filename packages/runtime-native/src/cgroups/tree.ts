/** The folders of a cgroup, one in each hierarchy: made with those above them, listed and removed. */
import { mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs';

import { RuntimeError } from '../errors.ts';
import { failure, isMissing, read, readOptional, write } from './files.ts';
import type { CgroupLayout } from './layout.ts';
import { handDownCpuset, inheritCpuset } from './v1.ts';

/** A cgroup in one hierarchy. */
export interface Folder {
  version: 1 | 2;
  mountPoint: string;
  controllers: readonly string[];
  folder: string;
}

/** @throws {RuntimeError} `INVALID_SPEC` for a path that leaves the root */
export function foldersOf(path: string, layout: CgroupLayout): Folder[] {
  const parts = path.split('/').slice(1);
  const bad = parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0'));
  if (!path.startsWith('/') || bad) {
    throw new RuntimeError(
      'INVALID_SPEC',
      `'${path}' is not a cgroup path: it must be absolute, below the root, and free of '.' and '..'`,
      { field: 'linux.cgroupsPath' },
    );
  }
  return layout.hierarchies.map((hierarchy) => ({ ...hierarchy, folder: hierarchy.mountPoint + path }));
}

/** Which of the controllers a new cgroup shall have: `possible` are those that nobody above is in the way of. */
export type Enable = 'none' | 'possible' | 'all';

/** Makes a folder and its parents, each ready for the next. False when it was there. */
export function makeFolder(hierarchy: Folder, path: string, enable: Enable): boolean {
  // the common case: only the last part is missing
  const { folder } = hierarchy;
  const cut = folder.lastIndexOf('/');
  const parent = folder.slice(0, cut);
  // a sweep may take a parent away between the two calls
  for (let attempt = 0; ; attempt++) {
    try {
      mkdirSync(folder);
      break;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return false;
      if (code !== 'ENOENT' || parent.length < hierarchy.mountPoint.length || attempt > 8) {
        throw failure('make', folder, error);
      }
      const parentPath = path.slice(0, path.lastIndexOf('/'));
      if (parentPath !== '' && makeFolder({ ...hierarchy, folder: parent }, parentPath, enable)) {
        if (isCpusetV1(hierarchy)) handDownCpuset(parent);
      }
    }
  }
  try {
    if (isCpusetV1(hierarchy)) inheritCpuset(folder, parent);
    // with no version 1 beside it; what little the unified hierarchy of a hybrid layout has is enabled where it is used
    if (enable !== 'none') enableControllers(hierarchy, folder, hierarchy.controllers, enable);
  } catch (error) {
    removeEmpty(folder);
    throw error;
  }
  return true;
}

function isCpusetV1({ version, controllers }: Folder): boolean {
  return version === 1 && controllers.includes('cpuset');
}

/** A version 2 cgroup has the controllers that its parent hands down; each level must. */
export function enableControllers(
  hierarchy: Folder,
  folder: string,
  wanted: readonly string[],
  enable: Enable,
): void {
  const missing = (level: string): string[] => {
    const there = read(`${level}/cgroup.subtree_control`).trim().split(' ');
    return read(`${level}/cgroup.controllers`)
      .trim()
      .split(' ')
      .filter((name) => name !== '' && wanted.includes(name) && !there.includes(name));
  };
  const levels: string[] = [];
  for (let at = folder; at.length > hierarchy.mountPoint.length;) {
    at = at.slice(0, at.lastIndexOf('/'));
    levels.unshift(at);
  }
  for (const level of levels) {
    const names = missing(level);
    if (names.length > 0) handDown(level, names, enable);
  }
}

/** Processes in a cgroup keep it from handing controllers down. */
function handDown(level: string, names: readonly string[], enable: Enable): void {
  try {
    write(`${level}/cgroup.subtree_control`, names.map((name) => `+${name}`).join(' '));
  } catch (error) {
    const busy = RuntimeError.is(error) && error.errnoCode === 'EBUSY';
    if (!busy || enable === 'all') throw error;
  }
}

/** Removes a cgroup and, unless told otherwise, those below it. False when one is busy; true also when it is not there. */
export function removeEmpty(folder: string, { below = true }: { below?: boolean } = {}): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return true;
    if (code !== 'EBUSY' && code !== 'ENOTEMPTY') throw failure('remove', folder, error);
  }
  const children = below ? subfolders(folder) : [];
  if (children.length === 0) return false;
  return children.map((child) => removeEmpty(child)).every(Boolean) && removeEmpty(folder);
}

export function listPids(folder: string): number[] {
  const text = readOptional(`${folder}/cgroup.procs`);
  if (text === undefined) return [];
  const pids = text.split('\n').filter(Boolean).map(Number);
  for (const child of subfolders(folder)) pids.push(...listPids(child));
  return pids;
}

function subfolders(folder: string): string[] {
  try {
    // a folder's link count is 2 and one more for each folder in it: saves reading the 30 files of most cgroups
    if (statSync(folder).nlink <= 2) return [];
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${folder}/${entry.name}`);
  } catch (error) {
    if (isMissing(error)) return [];
    throw failure('list', folder, error);
  }
}
