/**
 * Compiles the addon and the static helper with node-gyp, against the headers of the Node.js that runs this script.
 *
 * Does nothing when the sources, the flags, the compilers and Node's ABI are those of the last build: a hash of all of
 * them lies beside the products.
 *
 * Options: `--force` compiles anyway, `--verbose` shows the compilers at work, `--install` (npm's install script) says
 * what went wrong without failing the installation: what needs no native code works, and the rest says so when used.
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
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const products = join(root, 'build', 'Release');
const stamp = join(root, 'build', 'stamp');
const addon = join(products, 'tare_native.node');
const helper = join(products, 'tare-init');

/** The first of the names that is an executable file on PATH. */
function find(...names) {
  for (const name of names) {
    for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch (error) {
        if (error.code !== 'ENOENT' && error.code !== 'EACCES' && error.code !== 'ENOTDIR') throw error;
      }
    }
  }
  return undefined;
}

/** Files the products are made of, in a fixed order. */
function sources() {
  const native = readdirSync(join(root, 'native'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(cc|c|h)$/.test(name) && !name.startsWith(join('helper', 'test')))
    .map((name) => join('native', name));
  return ['binding.gyp', 'scripts/build.mjs', ...native.sort()];
}

function fail(message) {
  console.error(`@tare/runtime-native: ${message}`);
  process.exit(process.argv.includes('--install') ? 0 : 1);
}

/** Waits until no other process compiles in this folder, and holds it from then on. Returns how to let go. */
function lock() {
  const path = join(root, 'build', 'lock');
  mkdirSync(dirname(path), { recursive: true });
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const holder = existsSync(path) ? readFileSync(path, 'utf8') : '';
    // a builder that was killed leaves its lock behind
    if (holder !== '' && !existsSync(`/proc/${holder}`)) rmSync(path, { force: true });
    else Atomics.wait(sleeper, 0, 0, 100);
  }
}

function main() {
  if (process.platform !== 'linux') {
    console.error(`@tare/runtime-native: nothing to compile on ${process.platform}; containers need Linux`);
    return;
  }

  const node = realpathSync(process.execPath);
  const helperCompiler = find('musl-gcc', 'gcc', 'cc');
  const hash = createHash('sha256');
  hash.update([process.version, process.versions.modules, process.arch, node, helperCompiler].join('\0'));
  for (const name of ['CC', 'CXX', 'CFLAGS', 'CXXFLAGS', 'LDFLAGS'])
    hash.update(`\0${name}=${process.env[name] ?? ''}`);
  const names = sources();
  for (const name of names) hash.update(`\0${name}\0`).update(readFileSync(join(root, name)));
  const key = hash.digest('hex');
  const current = () =>
    !process.argv.includes('--force') &&
    complete() &&
    existsSync(stamp) &&
    readFileSync(stamp, 'utf8') === key;
  const hasHelper = names.some((name) => /^native\/helper\/[^/]+\.c$/.test(name));
  const complete = () => existsSync(addon) && (!hasHelper || existsSync(helper));
  if (current()) return;

  const missing = [
    [find('gcc', 'cc', 'clang'), 'a C compiler (gcc)'],
    [find('g++', 'c++', 'clang++'), 'a C++ compiler (g++)'],
    [find('make'), 'make'],
    [find('python3', 'python'), 'python3'],
  ].flatMap(([path, name]) => (path ? [] : [name]));
  if (missing.length > 0) {
    fail(
      `cannot compile the native parts: missing ${missing.join(', ')}. On Debian or Ubuntu: apt-get install build-essential python3`,
    );
  }

  // node-gyp lets this variable, which npm may have set for another Node.js, win over its own --nodedir
  const prefix = dirname(dirname(node));
  const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h'));
  const environment = { ...process.env };
  for (const name of ['npm_config_nodedir', 'NPM_CONFIG_NODEDIR']) delete environment[name];
  if (headers) environment.npm_config_nodedir = prefix;
  // binding.gyp asks `node` for the path of node-addon-api's headers
  environment.GYP_DEFINES = `${process.env['GYP_DEFINES'] ?? ''} helper_cc=${helperCompiler}`;
  // one product that fails does not keep the other from being built
  environment.MAKEFLAGS = `${process.env['MAKEFLAGS'] ?? ''} -k`;
  environment.PATH = `${dirname(node)}${delimiter}${process.env['PATH'] ?? ''}`;

  const require = createRequire(import.meta.url);
  const gyp = join(dirname(require.resolve('node-gyp/package.json')), 'bin', 'node-gyp.js');
  const verbose = process.argv.includes('--verbose');
  const unlock = lock();
  process.on('exit', unlock);
  // somebody else may have done it meanwhile
  if (current()) return;
  rmSync(stamp, { force: true });
  const result = spawnSync(node, [gyp, 'configure', 'build', '--release', '-j', 'max'], {
    cwd: root,
    env: environment,
    stdio: verbose ? 'inherit' : 'pipe',
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (result.status !== 0) {
    const output = verbose ? '' : `\n${result.stdout ?? ''}${result.stderr ?? ''}`;
    fail(`compiling failed${result.error ? `: ${result.error.message}` : ''}${output}`);
  }
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, key);
}

main();
