// Bundles the engine into dist/: `start.js` (the command line, which bin/tare.mjs runs), chunks that it loads when needed (the
// daemon is one, so that `tare ps` does not pay for it), the workers of the packages, which must be files of their own, and
// the dashboard.
//
// Native code stays where its package is.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire, isBuiltin as builtin } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);

/** Short id of the checked-out commit; empty outside a checkout. */
function gitCommit() {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .toString()
      .trim();
  } catch {
    // a source tarball has no git; the version then shows no commit
    return '';
  }
}

/** Worker programs of a package: every `worker.ts` or `*.worker.ts` of its sources. */
function workersOf(folder) {
  const directory = join(folder, 'src');
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true })
    .filter((file) => /(^|[/.-])worker\.ts$/.test(file))
    .map((file) => ({ in: join(directory, file), out: file.split('/').at(-1).replace(/\.ts$/, '') }));
}

/** The loader of native code is left where it is: it finds the addon next to itself. */
const nativeBinding = {
  name: 'native-binding',
  setup({ onResolve }) {
    onResolve({ filter: /^#binding$/ }, () => ({
      path: '../node_modules/@tare/runtime-native/binding.cjs',
      external: true,
    }));
  },
};

/**
 * Node's own modules are taken by a call. An import of one reads all that it exports, and some of it loads much more: that
 * of `node:fs` its streams and promises, a tenth of what the start of a command takes.
 */
const builtinModules = {
  name: 'builtin-modules',
  setup({ onLoad, onResolve }) {
    // those that packages of others import
    onResolve({ filter: /^(?:node:)?[\w/]+$/ }, ({ path, importer, kind }) => {
      const isBuiltin = kind === 'import-statement' && importer.includes('node_modules') && builtin(path);
      return isBuiltin
        ? { path: path.replace(/^(?:node:)?/, 'node:'), namespace: 'node-builtin' }
        : undefined;
    });
    onLoad({ filter: /.*/, namespace: 'node-builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule('${path}')`,
    }));
    const imports = /^import \{([^}]*)\} from '(node:[\w/]+)';$/gm;
    onLoad({ filter: /(?:examples|packages)\/[\w-]+\/src\/.*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      const contents = source.replace(imports, (_all, names, module) => {
        const values = names.split(',').filter((name) => name.trim() !== '' && !/^\s*type /.test(name));
        const lines = names.replace(/[^\n]/g, '');
        return `const {${values.join(',').replaceAll(' as ', ': ')}} = process.getBuiltinModule('${module}');${lines}`;
      });
      return { contents, loader: 'ts' };
    });
  },
};

const packages = ['layer-store', 'registry-client', 'runtime-native', 'netdriver'].map((name) =>
  dirname(require.resolve(`@tare/${name}/package.json`)),
);
await rm(join(root, 'dist'), { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: [{ in: 'src/cli/start.ts', out: 'start' }, ...[root, ...packages].flatMap(workersOf)],
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  inject: ['../../tools/disposable-stacks.mjs'],
  conditions: ['@tare/source'],
  plugins: [nativeBinding, builtinModules],
  sourcemap: true,
  legalComments: 'none',
  logLevel: 'warning',
  define: {
    __TARE_GIT_COMMIT__: JSON.stringify(gitCommit()),
    __TARE_BUILD_TIME__: JSON.stringify(new Date().toISOString()),
  },
  banner: {
    // CommonJS dependencies call require for Node's own modules
    js: `const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);`,
  },
});

// Who runs the bundle by hand goes through the same door, where the version of Node.js is looked at.
await writeFile(join(root, 'dist', 'tare.js'), `import '../bin/tare.mjs';\n`);

// The page of `tare ui`: one script and one style sheet, nothing from elsewhere.
await build({
  absWorkingDir: root,
  entryPoints: [{ in: 'ui/app.tsx', out: 'app' }],
  outdir: 'dist/ui',
  bundle: true,
  minify: true,
  format: 'esm',
  platform: 'browser',
  target: ['chrome123', 'firefox120', 'safari17.5'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none',
  logLevel: 'warning',
});
await copyFile(join(root, 'ui', 'index.html'), join(root, 'dist', 'ui', 'index.html'));
