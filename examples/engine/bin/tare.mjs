#!/usr/bin/env node
// Runs the built command line; a checkout without a build says how to make one.
// Node's modules by a call: importing them reads all that they export, which takes longer than using them.
const { existsSync } = process.getBuiltinModule('node:fs');

// A daemon is small when it has nothing to do, which only its start can arrange for: what is young stays in a few
// megabytes, and threads share one heap. Descriptors that a service manager hands over would not live through this.
const frugal = '--max-semi-space-size=8';
if (
  process.argv[2] === 'daemon' &&
  !process.execArgv.includes(frugal) &&
  !process.env.LISTEN_FDS &&
  process.execve
) {
  const env = { MALLOC_ARENA_MAX: '1', ...process.env };
  process.execve(
    process.execPath,
    [process.argv0, ...process.execArgv, frugal, ...process.argv.slice(1)],
    env,
  );
}

const bundle = new URL('../dist/tare.js', import.meta.url);
if (existsSync(bundle)) {
  await import(bundle.href);
} else {
  process.stderr.write(
    `tare is not built yet: run 'npm start' or 'node tools/boot.mjs' in the repository root\n`,
  );
  process.exitCode = 1;
}
