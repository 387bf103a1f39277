/** Bundles: a directory with config.json, which becomes the working directory as runc has it. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Spec } from '@tare/runtime-native/spec';

import { CommandError } from './errors.ts';

const CONFIG = 'config.json';

/** Enters the bundle and reads its spec, unchecked: the runtime checks it. @throws {CommandError} */
export function openBundle(path: string | undefined): { bundle: string; spec: Spec } {
  if (path !== undefined) {
    try {
      process.chdir(path);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const reason = code === 'ENOENT' ? 'no such file or directory' : message;
      throw new CommandError(`chdir ${path}: ${reason}`, { cause: error });
    }
  }
  return { bundle: resolve('.'), spec: readJson(CONFIG) as Spec };
}

/** A JSON document from a file. @throws {CommandError} */
export function readJson(path: string | number): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new CommandError(`JSON specification file ${path} not found`, { cause: error });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CommandError(`${path === 0 ? 'standard input' : path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** `slice:prefix:name` of systemd's cgroup driver. */
const SYSTEMD_PATH = /^([^:/]*):([^:/]*):([^:/]+)$/;

/**
 * The spec with its cgroup where it shall be: a path in every hierarchy. With systemd's form of it that is where systemd
 * would put the scope; systemd itself is not asked.
 */
export function placeCgroup(spec: Spec, systemd: boolean): Spec {
  const asked = spec.linux?.cgroupsPath;
  if (!systemd || !asked) return spec;
  const [, slice, prefix, name] = SYSTEMD_PATH.exec(asked) ?? [];
  if (name === undefined)
    throw new CommandError(
      `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "${asked}" instead`,
    );
  const unit = name.endsWith('.slice') ? name : `${[prefix, name].filter(Boolean).join('-')}.scope`;
  return {
    ...spec,
    linux: { ...spec.linux, cgroupsPath: `${expandSlice(slice || 'system.slice')}/${unit}` },
  };
}

/** `a-b.slice` lies in `a.slice`. @throws {CommandError} for what is no slice's name */
export function expandSlice(slice: string): string {
  if (slice === '-.slice') return '';
  const name = slice.slice(0, -'.slice'.length);
  const parts = name.split('-');
  if (!slice.endsWith('.slice') || parts.includes('')) throw new CommandError(`invalid slice name: ${slice}`);
  return parts.map((_, i) => `/${parts.slice(0, i + 1).join('-')}.slice`).join('');
}
