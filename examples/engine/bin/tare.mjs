#!/usr/bin/env node
// Runs the built command line; a checkout without a build says how to make one. An old Node.js reads this file as well, to be
// told that it is too old: nothing is in it that Node.js 12, which came with Ubuntu 22.04, could not parse.
const [major, minor] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 19)) {
  start();
} else {
  fail(
    `needs Node.js 22.19 or newer, and ${process.execPath} is ${process.versions.node}: ` +
      `put a newer one first in PATH, or install a release of Tare, which has its own`,
  );
}

function start() {
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

  const bundle = new URL('../dist/start.js', import.meta.url);
  if (existsSync(bundle)) {
    // it ends the process with a code of its own; this one is Node's for a program that never came to its end
    process.exitCode = 13;
    import(bundle.href);
  } else {
    fail(`not built yet: run 'npm start' or 'node tools/boot.mjs' in the repository root`);
  }
}

function fail(message) {
  process.stderr.write(`tare: ${message}\n`);
  process.exitCode = 1;
}
