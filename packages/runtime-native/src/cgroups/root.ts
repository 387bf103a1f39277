/** Where the containers of one runtime have their cgroups, if they can have any. */
import { caller } from '../caller.ts';
import type { Cgroup } from './cgroup.ts';
import { openCgroup } from './cgroups.ts';
import { delegatedCgroup } from './delegation.ts';
import type { DelegatedCgroup } from './delegation.ts';
import { detectCgroups } from './layout.ts';
import { NoCgroup } from './none.ts';

const DIRECTORY = '/tare';

/** Root's containers are below `/tare` in every hierarchy, those of others in what is delegated to them. */
export class CgroupRoot {
  readonly #asked: string | undefined;
  /** Undefined: not looked for yet. */
  #delegated: DelegatedCgroup | 'none' | undefined;

  constructor(asked?: string) {
    this.#asked = asked;
  }

  #delegation(): DelegatedCgroup | undefined {
    this.#delegated ??= delegatedCgroup(detectCgroups()) ?? 'none';
    return this.#delegated === 'none' ? undefined : this.#delegated;
  }

  /** The path of a container's cgroup; '' for none. `asked` is `linux.cgroupsPath`. */
  path(id: string, asked: string | undefined): string {
    if (asked?.startsWith('/')) return asked;
    const { privileged } = caller();
    const delegated = privileged ? undefined : this.#delegation();
    if (!privileged && !delegated) return '';
    return `${this.#asked ?? `${delegated?.path ?? ''}${DIRECTORY}`}/${asked || id}`;
  }

  /** @param pid of the container's first process: what tells its processes when there is no cgroup */
  open(path: string, pid: () => number): Cgroup {
    if (caller().privileged) return openCgroup(path);
    const delegated = this.#delegation();
    if (path === '' || !delegated) return new NoCgroup(pid);
    return openCgroup(path, { layout: delegated.layout });
  }
}
