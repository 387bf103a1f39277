/** A worker that swaps two entries of a directory, again and again, until it is terminated. */
import { constants, openSync } from 'node:fs';
import { workerData } from 'node:worker_threads';

import { renameat2 } from '../../src/syscalls.ts';

/** What the worker is told. */
export interface Swap {
  directory: string;
  first: string;
  second: string;
}

const { directory, first, second } = workerData as Swap;
const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
for (;;) renameat2(fd, first, fd, second, { exchange: true });
