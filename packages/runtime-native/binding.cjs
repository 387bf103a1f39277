/**
 * The one place that loads native code. Nothing is loaded before the first call of `load`, so that the package can be
 * imported anywhere; what is missing is said then.
 */
'use strict';

const { existsSync } = require('node:fs');
const { join } = require('node:path');

/** Folders that may hold the products, best first: shipped for this platform, or compiled here. */
const folders = [
  join(__dirname, 'prebuilds', `${process.platform}-${process.arch}`),
  join(__dirname, 'build', 'Release'),
];

function find(name) {
  if (process.platform !== 'linux') {
    throw Object.assign(new Error(`@tare/runtime-native needs Linux; this is ${process.platform}`), {
      code: 'UNSUPPORTED',
    });
  }
  for (const folder of folders) {
    const path = join(folder, name);
    if (existsSync(path)) return path;
  }
  throw Object.assign(
    new Error(
      `@tare/runtime-native: ${name} is not compiled; run \`node ${join(__dirname, 'scripts', 'build.mjs')}\` (needs gcc, g++, make and python3)`,
    ),
    { code: 'NATIVE_MISSING' },
  );
}

let loaded;

/** The addon. @throws {Error} `UNSUPPORTED` off Linux, `NATIVE_MISSING` before it is compiled */
exports.load = function load() {
  loaded ??= require(find('tare_native.node'));
  return loaded;
};

/** Absolute path of the static helper. @throws {Error} as `load` */
exports.helperPath = function helperPath() {
  return find('tare-init');
};
