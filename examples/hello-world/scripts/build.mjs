/** Compiles hello.c to `build/hello`: static, without a C library. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

const here = join(import.meta.dirname, '..');
mkdirSync(join(here, 'build'), { recursive: true });
execFileSync(
  'gcc',
  // -fno-stack-protector, -fno-builtin: both would call into the C library that is not there
  [
    '-Os',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-static',
    '-nostdlib',
    '-ffreestanding',
    '-fno-builtin',
    '-fno-stack-protector',
    '-fno-asynchronous-unwind-tables',
    '-Wl,--build-id=none',
    '-Wl,-z,noseparate-code',
    '-s',
    '-o',
    join(here, 'build', 'hello'),
    join(here, 'hello.c'),
  ],
  { stdio: 'inherit' },
);
