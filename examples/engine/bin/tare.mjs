#!/usr/bin/env node
// Runs the built command line; a checkout without a build says how to make one.
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

const bundle = fileURLToPath(new URL('../dist/tare.js', import.meta.url));
if (existsSync(bundle)) {
  await import(pathToFileURL(bundle).href);
} else {
  process.stderr.write(
    `tare is not built yet: run 'npm start' or 'node tools/boot.mjs' in the repository root\n`,
  );
  process.exitCode = 1;
}
