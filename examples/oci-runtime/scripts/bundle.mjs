// Bundles the command line into dist/: one file, and beside it a launcher that names the Node.js to run it with, because
// engines start runtimes with whatever PATH they have.
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const native = dirname(createRequire(import.meta.url).resolve('@tare/runtime-native/package.json'));

/** The loader of native code stays where it is: it finds the addon next to itself. */
const nativeBinding = {
  name: 'native-binding',
  setup({ onResolve }) {
    onResolve({ filter: /^#binding$/ }, () => ({ path: join(native, 'binding.cjs'), external: true }));
  },
};

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

await rm(dist, { recursive: true, force: true });
await mkdir(dist);
await build({
  absWorkingDir: root,
  entryPoints: ['src/main.ts'],
  outfile: join(dist, 'main.cjs'),
  bundle: true,
  // as CommonJS the file is read once, compiled from the cache, and run without an event loop's turn between
  format: 'cjs',
  platform: 'node',
  target: 'node24',
  conditions: ['@tare/source'],
  plugins: [nativeBinding],
  minifySyntax: true,
  legalComments: 'none',
  logLevel: 'warning',
  logOverride: { 'empty-import-meta': 'silent' },
});
await writeFile(
  join(dist, 'start.cjs'),
  `require('node:module').enableCompileCache(${JSON.stringify(join(dist, 'cache'))});\nrequire('./main.cjs');\n`,
);
await writeFile(
  join(dist, 'oci-runtime'),
  `#!/bin/sh\nexec ${quoted(process.execPath)} ${quoted(join(dist, 'start.cjs'))} "$@"\n`,
);
await chmod(join(dist, 'oci-runtime'), 0o755);
