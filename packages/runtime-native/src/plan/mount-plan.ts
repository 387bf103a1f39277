/** What the mount part of a plan is collected in, and the words that its parts share. */
import { posix } from 'node:path';

import type { Spec } from '../spec/config.ts';
import type { IdMapping } from '../spec/linux.ts';
import type { MountOptions } from './mount-options.ts';
import { mapLines } from './namespaces.ts';
import type { Operation } from './operations.ts';
import { invalid, unsupported } from './validate.ts';

/** Flags of MOUNT and BIND. */
export const FLAG = { NO_SYMLINKS: 1, ONTO_FILE: 2, OVER_PROC: 4, COPY_UP: 8, PROC: 16 } as const;

/** Where a destination really is: absolute, without `.`, `..` and doubled slashes. */
export function normalize(path: string): string {
  const clean = posix.normalize(`/${path}`);
  return clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean;
}

/** Ids of a mount. */
export interface IdMaps {
  uidMappings: readonly IdMapping[];
  gidMappings: readonly IdMapping[];
}

/** Collects the operations of the mount part; trees have to be opened before the first thing is mounted. */
export class MountPlan {
  readonly #trees: Operation[] = [];
  readonly #made: Operation[] = [];
  readonly #steps: Operation[] = [];
  #slots = 0;

  /** TREE_OPEN of everything that comes from the host, and ID_MAP: what has to be done while its root is still that. */
  get trees(): readonly Operation[] {
    return this.#trees;
  }

  /** What is made outside of the container's user namespace, in a place that nobody else sees. */
  get made(): readonly Operation[] {
    return this.#made;
  }

  /** Everything else, in order. */
  get steps(): readonly Operation[] {
    return this.#steps;
  }

  tree(path: string, recursive: boolean): number {
    return this.open((slot) => ['TREE_OPEN', slot, path, recursive ? 1 : 0]);
  }

  /** Another operation that opens something of the host and keeps it in a slot. */
  open(operation: (slot: number) => Operation): number {
    const slot = this.#slots++;
    this.#trees.push(operation(slot));
    return slot;
  }

  idMap({ uidMappings, gidMappings }: IdMaps): number {
    return this.open((slot) => ['ID_MAP', slot, mapLines(uidMappings), mapLines(gidMappings)]);
  }

  /** Gives a tree the ids of a mapping. @param place where it will be in the container, for messages */
  mapTree(tree: number, maps: IdMaps, recursive: boolean, place: string): void {
    const ids = this.idMap(maps);
    this.#trees.push(['MAP_TREE', tree, ids, recursive ? 1 : 0, place]);
  }

  /** An operation whose result is kept in a slot. */
  make(operation: (slot: number) => Operation): number {
    const slot = this.#slots++;
    this.#made.push(operation(slot));
    return slot;
  }

  add(operation: Operation): void {
    this.#steps.push(operation);
  }
}

/** @throws {RuntimeError} `UNSUPPORTED` for the first option that this version cannot do */
export function refuse(options: MountOptions, field: string): void {
  if (options.unsupported.length > 0)
    throw unsupported(`${field}.options ${JSON.stringify(options.unsupported[0])}`);
}

/** Mappings of the mount's own, or with `idmap` alone the container's. */
export function idMapsOf(mount: Partial<IdMaps>, spec: Spec, field: string): IdMaps {
  let { uidMappings = [], gidMappings = [] } = mount;
  if (uidMappings.length === 0 && gidMappings.length === 0) {
    ({ uidMappings = [], gidMappings = [] } = spec.linux ?? {});
    if (uidMappings.length === 0) {
      throw invalid(`${field}.options`, 'idmap needs uidMappings and gidMappings, of the mount or of linux');
    }
  }
  for (const [name, mappings] of Object.entries({ uidMappings, gidMappings })) {
    if (mappings.length === 0) throw invalid(`${field}.${name}`, 'must be given when the other one is');
  }
  return { uidMappings, gidMappings };
}
