/**
 * From a bare clone to a usable workspace: dependencies, the native addon and helper, the bundled `tare` and
 * `oci-runtime` commands, and the hello-world program. Each step is skipped when its inputs have not changed. Runs on any Node.js >= 20 and uses
 * no dependency: it is what installs them.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { arch, platform } from 'node:os';
import { delimiter, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const bin = join(root, 'node_modules', '.bin');
const stamps = join(root, 'node_modules', '.cache', 'tare');
const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

checkMachine();
step(
  'dependencies',
  ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', ...manifests()],
  installDependencies,
);
step(
  'native',
  [
    'packages/runtime-native/native',
    'packages/runtime-native/binding.gyp',
    'packages/runtime-native/scripts',
  ],
  () =>
    run('building the native addon and the container helper', [
      join(bin, 'node'),
      'packages/runtime-native/scripts/build.mjs',
    ]),
);
step('tare', ['packages', 'examples/engine', 'examples/registry', 'tools/disposable-stacks.mjs'], () =>
  run('bundling the tare command', [join(bin, 'node'), 'examples/engine/scripts/bundle.mjs']),
);
step('oci-runtime', ['packages/runtime-native', 'examples/oci-runtime'], () =>
  run('bundling the oci-runtime command', [join(bin, 'node'), 'examples/oci-runtime/scripts/bundle.mjs']),
);
step('hello-world', ['examples/hello-world'], () =>
  run('compiling hello-world', [join(bin, 'node'), 'examples/hello-world/scripts/build.mjs']),
);

/** Says what is missing before anything is downloaded. */
function checkMachine() {
  if (platform() !== 'linux' || !['x64', 'arm64'].includes(arch())) {
    fail(`Tare runs containers on Linux (x64 or arm64); this is ${platform()} ${arch()}.`);
  }
  const { node } = process.versions;
  if (Number.parseInt(node, 10) < 20) {
    fail(`installing needs Node.js 20 or newer, and ${process.execPath} is ${node}`);
  }
  if (/[\s$#'"]/.test(root)) {
    fail(`make takes no path with spaces or quotes, such as ${root}: move this folder`);
  }
  const missing = ['gcc', 'g++', 'make', 'python3'].filter((name) => !onPath(name));
  if (missing.length > 0) {
    fail(`missing on this machine: ${missing.join(', ')}. On Debian: apt-get install gcc g++ make python3`);
  }
}

function installDependencies() {
  const local = join(bin, 'pnpm');
  const pnpm = existsSync(local) ? [local] : ['npx', '--yes', packageManager];
  run('installing dependencies', [...pnpm, 'install', '--frozen-lockfile', '--reporter=append-only']);
}

/** Runs `action` unless the files under `inputs` are as they were when it last succeeded. */
function step(name, inputs, action) {
  const stamp = join(stamps, name);
  const now = fingerprint(inputs);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return;
  action();
  mkdirSync(stamps, { recursive: true });
  writeFileSync(stamp, now);
}

/** A hash over the names and contents of all source files under `inputs`. */
function fingerprint(inputs) {
  const hash = createHash('sha256').update(`${process.arch}\n`);
  for (const input of inputs) {
    for (const file of files(join(root, input))) {
      hash
        .update(`${relative(root, file)}\0`)
        .update(readFileSync(file))
        .update('\0');
    }
  }
  return hash.digest('hex');
}

/** Files below `path` that steps depend on: no outputs, no dependencies, no tests. */
function files(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => !['node_modules', 'dist', 'build', 'test', '.cache'].includes(entry.name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) =>
      entry.isDirectory() ? files(join(path, entry.name)) : entry.isFile() ? [join(path, entry.name)] : [],
    );
}

function manifests() {
  return ['packages', 'examples'].flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => join(folder, name, 'package.json')),
  );
}

function run(what, [command, ...args]) {
  process.stderr.write(`tare: ${what} …\n`);
  const started = Date.now();
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
  });
  if (result.error) fail(`${what}: cannot run ${command}: ${result.error.message}`);
  if (result.status !== 0) {
    process.stderr.write(result.stdout + result.stderr);
    fail(
      `${what} failed: "${[command, ...args].join(' ')}" ended with ${result.signal ?? `exit code ${result.status}`}`,
    );
  }
  process.stderr.write(`tare: ${what}: done in ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}

function onPath(name) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function fail(message) {
  process.stderr.write(`tare: ${message}\n`);
  process.exit(1);
}
