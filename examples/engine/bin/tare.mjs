#!/usr/bin/env node
// Runs the built command line; a checkout without a build says how to make one.
// Node's modules by a call: importing them reads all that they export, which takes longer than using them.
const { existsSync } = process.getBuiltinModule('node:fs');

const bundle = new URL('../dist/tare.js', import.meta.url);
if (existsSync(bundle)) {
  await import(bundle.href);
} else {
  process.stderr.write(
    `tare is not built yet: run 'npm start' or 'node tools/boot.mjs' in the repository root\n`,
  );
  process.exitCode = 1;
}
