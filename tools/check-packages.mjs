/**
 * Checks each package as npm users will get it: built, packed, then looked at by publint and are-the-types-wrong, and
 * imported and required from a folder where only the tarballs are installed.
 */
import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const names = readdirSync(join(root, 'packages'));
const work = mkdtempSync(join(tmpdir(), 'tare-pack-'));

try {
  run('pnpm', ['-r', '--filter', './packages/*', 'run', 'build'], root);
  const scope = join(work, 'node_modules', '@tare');
  mkdirSync(scope, { recursive: true });
  for (const name of names) {
    const folder = join(root, 'packages', name);
    run('pnpm', ['pack', '--pack-destination', work], folder);
    const tarball = join(
      work,
      readdirSync(work).find((file) => file.startsWith(`tare-${name}-`)),
    );
    run('publint', ['run', tarball, '--strict'], root);
    // node10 knows no exports map: sub-paths are for resolvers of this decade
    run('attw', [tarball, '--profile', 'node16'], root);
    run('tar', ['-xzf', tarball, '-C', work], root);
    run('mv', [join(work, 'package'), join(scope, name)], root);
    // third-party dependencies come from the workspace: they are not what is checked here
    symlinkSync(join(folder, 'node_modules'), join(scope, name, 'node_modules'));
    checkReadme(name);
  }
  checkEntryPoints();
  for (const format of ['mjs', 'cjs']) checkUnpackWorkers(format);
  process.stdout.write(`${names.length} packages: build, publint, attw, import and require are fine\n`);
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Every entry point loads through `import` and `require` and offers the same names. */
function checkEntryPoints() {
  for (const name of names) {
    const { exports } = JSON.parse(
      readFileSync(join(work, 'node_modules', '@tare', name, 'package.json'), 'utf8'),
    );
    for (const path of Object.keys(exports).filter((key) => key !== './package.json')) {
      const specifier = `@tare/${name}${path.slice(1)}`;
      const script = join(work, 'check.mjs');
      writeFileSync(
        script,
        `import { createRequire } from 'node:module';
         const names = (loaded) => Object.keys(loaded).filter((key) => key !== 'default' && key !== '__esModule' && key !== 'module.exports').sort().join();
         const imported = names(await import('${specifier}'));
         const required = names(createRequire(import.meta.url)('${specifier}'));
         if (imported !== required) throw new Error('${specifier}: import offers ' + imported + ', require ' + required);`,
      );
      run('node', [script], work);
    }
  }
}

/** A layer unpacked on a thread, by programs of either module format. */
function checkUnpackWorkers(format) {
  const load = (names, from) =>
    format === 'mjs' ? `import { ${names} } from '${from}';` : `const { ${names} } = require('${from}');`;
  const self = format === 'mjs' ? 'import.meta.url' : "require('node:url').pathToFileURL(__filename)";
  writeFileSync(
    join(work, `unpack.${format}`),
    `${load('serveUnpacking', '@tare/layer-store/worker')}
     ${load('nodeLayerFs', '@tare/layer-store')}
     serveUnpacking(nodeLayerFs);`,
  );
  writeFileSync(
    join(work, `main.${format}`),
    `${load('nodeLayerFs, openLayerStore', '@tare/layer-store')}
     ${load('TarBuilder', '@tare/layer-store/testing')}
     async function main() {
       const program = new URL('./unpack.${format}', ${self});
       const store = await openLayerStore({ root: 'store-${format}', fs: nodeLayerFs, workers: { program } });
       const tar = new TarBuilder().directory('.').file('hello', 'world').build();
       const { descriptor, diffId } = await store.importLayer((async function* () { yield tar; })());
       await store.unpack([{ descriptor, diffId }]);
       await store[Symbol.asyncDispose]();
     }
     main();`,
  );
  run('node', [`main.${format}`], work);
}

function checkReadme(name) {
  const readme = readFileSync(join(root, 'packages', name, 'README.md'), 'utf8');
  if (!readme.includes(`@tare/${name}`) || !readme.includes('```')) {
    throw new Error(`packages/${name}/README.md shows no example of @tare/${name}`);
  }
}

function run(command, args, cwd) {
  const result = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 64 << 20 });
  if (result.status !== 0) {
    process.stderr.write(`${result.error?.message ?? ''}${result.stdout}${result.stderr}`);
    process.stderr.write(`failed: ${command} ${args.join(' ')}\n`);
    process.exitCode = 1;
    throw new Error(`${command} ended with ${result.signal ?? result.status}`);
  }
}
