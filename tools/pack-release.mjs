/**
 * Makes the release: one archive that holds the engine, its native parts, the Node.js that it runs on, and the scripts that
 * install it. It needs nothing on the machine that it is unpacked on, and the machine's own Node.js is left alone.
 *
 *     node tools/pack-release.mjs [--output DIRECTORY] [--version VERSION] [--fast]
 *
 * `--fast` packs without much compression, for tests. Prints the archive's path.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '..');
const engine = join(root, 'examples', 'engine');
const runtime = join(root, 'packages', 'runtime-native');

const { values } = readArguments();

const name = `tare-${values.version}-linux-${process.arch}`;
const archive = join(resolve(values.output), `${name}.tar.gz`);
const stage = mkdtempSync(join(tmpdir(), 'release-'));
try {
  const folder = join(stage, name);
  fill(folder);
  mkdirSync(values.output, { recursive: true });
  const level = values.fast ? '-1' : '-9';
  execFileSync('tar', [
    '--create',
    `--file=${archive}`,
    `--directory=${stage}`,
    `--use-compress-program=gzip ${level}`,
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--sort=name',
    name,
  ]);
  process.stdout.write(`${archive}\n`);
} catch (error) {
  process.stderr.write(`pack-release: ${error.message}\n`);
  process.exitCode = 1;
} finally {
  rmSync(stage, { recursive: true, force: true });
}

function readArguments() {
  try {
    return parseArgs({
      options: {
        output: { type: 'string', default: join(root, '.cache', 'release') },
        version: { type: 'string', default: versionOfSources() },
        fast: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    process.stderr.write(
      `pack-release: ${error.message}\nusage: node tools/pack-release.mjs [--output DIRECTORY] [--version VERSION] [--fast]\n`,
    );
    process.exit(1);
  }
}

function versionOfSources() {
  const text = readFileSync(join(root, 'examples/engine/src/version.ts'), 'utf8');
  return /TARE_VERSION = '(.+?)'/.exec(text)[1];
}

/** Lays the release out; the bundle finds the native parts as it does in a checkout. */
function fill(folder) {
  for (const file of ['dist/start.js', 'bin/tare.mjs']) need(join(engine, file));
  const to = (...path) => join(folder, ...path);
  copy(join(engine, 'bin'), to('engine/bin'));
  copy(join(engine, 'dist'), to('engine/dist'), (path) => !path.endsWith('.map'));
  writeFileSync(to('engine/package.json'), '{ "type": "module" }\n');
  const native = to('engine/node_modules/@tare/runtime-native');
  copy(join(runtime, 'binding.cjs'), join(native, 'binding.cjs'));
  for (const file of ['tare_native.node', 'tare-init']) {
    copy(need(join(runtime, 'build/Release', file)), join(native, 'build/Release', file));
  }
  // the binary alone: npm and the headers stay behind
  copy(nodeBinary(), to('node/bin/node'));
  for (const file of ['install.sh', 'uninstall.sh']) copy(join(engine, 'release', file), to(file));
  for (const file of ['tare', 'tare.service', 'tare.socket']) {
    copy(join(engine, 'release', file), to('release', file));
  }
  copy(join(root, 'LICENSE'), to('LICENSE'));
  writeFileSync(to('VERSION'), `${values.version}\n`);
}

/** The Node.js that this checkout is developed on: a package, or the one that runs this. */
function nodeBinary() {
  const packaged = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin/node');
  return existsSync(packaged) ? packaged : process.execPath;
}

function need(path) {
  if (existsSync(path)) return path;
  throw new Error(`${path} is missing: run 'npm start' first, which builds it`);
}

function copy(from, to, filter = () => true) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true, dereference: true, filter });
}
