/**
 * Compiles the addon and the static helper with node-gyp, against the headers of the Node.js that runs this script.
 *
 * Does nothing when the sources, the flags, the compilers and Node's ABI are those of the last build: a hash of all of
 * them lies beside the products.
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
  process.exit(1);
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
  const hasHelper = names.some((name) => /^native\/helper\/[^/]+\.c$/.test(name));
  const complete = existsSync(addon) && (!hasHelper || existsSync(helper));
  const force = process.argv.includes('--force');
  if (!force && complete && existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return;

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
  rmSync(stamp, { force: true });
  const verbose = process.argv.includes('--verbose');
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
