/** A thread that unpacks with the native calls; told to by its file name, one that dies. */
import { layerFs } from '@tare/runtime-native/syscalls';
import { serveUnpacking } from '../src/unpack/index.ts';

serveUnpacking({
  ...layerFs,
  symlinkat(target, dirfd, name) {
    if (target === 'die!') process.exit(3);
    layerFs.symlinkat(target, dirfd, name);
  },
});
