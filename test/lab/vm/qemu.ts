/** QEMU for x86-64: the machine's own when it is installed, else Debian's from the cache, run from where it lies. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { packageFolder, packagesToInstall } from '../debian.ts';

/** How to execute QEMU. */
export interface Qemu {
  program: string;
  /** Before all others: where it finds its firmware. */
  args: string[];
  env: NodeJS.ProcessEnv;
}

const NAME = 'qemu-system-x86_64';
const LIBRARIES = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'];

/** @throws when it is neither installed nor to be had from Debian */
export async function findQemu(): Promise<Qemu> {
  const installed = (process.env.PATH ?? '').split(':').map((folder) => join(folder, NAME));
  const program = installed.find((path) => existsSync(path));
  if (program !== undefined) return { program, args: [], env: process.env };

  const folders: string[] = [];
  for (const name of await packagesToInstall('qemu-system-x86')) folders.push(await packageFolder(name));
  const below = (...paths: string[]): string[] =>
    folders.flatMap((folder) => paths.map((path) => join(folder, path))).filter((path) => existsSync(path));
  const [found] = below(`usr/bin/${NAME}`);
  if (found === undefined) throw new Error(`the package qemu-system-x86 has no ${NAME}`);
  const firmware = below('usr/share/qemu', 'usr/share/seabios');
  return {
    program: found,
    args: firmware.flatMap((folder) => ['-L', folder]),
    env: {
      ...process.env,
      LD_LIBRARY_PATH: below(...LIBRARIES).join(':'),
      // the emulator itself is a module
      QEMU_MODULE_DIR: below('usr/lib/x86_64-linux-gnu/qemu').join(':'),
    },
  };
}
