/** The dependency arrows of ARCHITECTURE.md, held against what the sources import. */
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

/** What each package may import of the others. Nothing imports upwards. */
const ALLOWED: Record<string, string[]> = {
  'image-spec': [],
  'registry-client': ['image-spec'],
  'layer-store': ['image-spec'],
  'runtime-native': [],
  netdriver: ['runtime-native'],
};

/** Inside the engine: a folder may import from the ones named for it, besides itself and the engine's root modules. */
const ENGINE_ALLOWED: Record<string, string[]> = {
  state: [],
  events: ['state'],
  jobs: ['state', 'events'],
  logs: ['state', 'events', 'jobs'],
};

describe('packages', () => {
  for (const [name, allowed] of Object.entries(ALLOWED)) {
    const imports = importsOf(join(root, 'packages', name, 'src'));

    test(`${name} imports ${allowed.length > 0 ? `only ${allowed.join(', ')}` : 'none'} of the others`, () => {
      const others = imports.filter(({ specifier }) => specifier.startsWith('@tare/'));
      expect(others.filter(({ specifier }) => !allowed.includes(specifier.split('/')[1]!))).toEqual([]);
    });

    test(`${name} declares what it imports`, () => {
      const manifest = JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'));
      const declared = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies });
      const bare = imports.filter(({ specifier }) => /^[a-z@]/.test(specifier) && !isBuiltin(specifier));
      expect(bare.filter(({ specifier }) => !declared.includes(packageOf(specifier)))).toEqual([]);
    });

    test(`${name} reaches no file outside its own folder`, () => {
      const outside = imports.filter(
        ({ file, specifier }) =>
          specifier.startsWith('.') &&
          relative(join(root, 'packages', name, 'src'), join(root, file, '..', specifier)).startsWith('..'),
      );
      expect(outside).toEqual([]);
    });
  }

  test('image-spec does no I/O: it imports no Node.js module', () => {
    const builtins = importsOf(join(root, 'packages', 'image-spec', 'src')).filter(({ specifier }) =>
      isBuiltin(specifier),
    );
    expect(builtins).toEqual([]);
  });
});

describe('engine', () => {
  const source = join(root, 'examples', 'engine', 'src');
  const imports = importsOf(source);

  for (const [folder, allowed] of Object.entries(ENGINE_ALLOWED)) {
    test(`${folder} does not import upwards`, () => {
      const upwards = imports.filter(({ file, specifier }) => {
        if (!file.startsWith(`examples/engine/src/${folder}/`) || !specifier.startsWith('.')) return false;
        const target = relative(source, join(root, file, '..', specifier));
        return target.includes('/') && ![folder, ...allowed].includes(target.split('/')[0]!);
      });
      expect(upwards).toEqual([]);
    });
  }

  test('only main.ts names implementations of the seams', () => {
    const names = /\b(createNativeRuntime|createBridgeDriver|openLayerStore)\b/;
    const elsewhere = sourcesOf(source).filter(
      (file) => file !== join(source, 'main.ts') && names.test(readFileSync(file, 'utf8')),
    );
    expect(elsewhere.map((file) => relative(root, file))).toEqual([]);
  });

  test('no resource imports the HTTP layer', () => {
    const resources = ['containers', 'images', 'networks', 'volumes', 'builder'];
    const wrong = imports.filter(({ file, specifier }) => {
      const from = file.split('/')[3]!;
      return (
        resources.includes(from) &&
        specifier.startsWith('.') &&
        /\/http\/(routes|server|router)/.test(specifier)
      );
    });
    expect(wrong).toEqual([]);
  });

  test('the client commands import nothing of the daemon but its entry, its version, what knows mistyped names, the rules of ignore files, the doctor and the wire of builds', () => {
    const wrong = imports.filter(({ file, specifier }) => {
      if (!file.startsWith('examples/engine/src/cli/') || !specifier.startsWith('.')) return false;
      const target = relative(source, join(root, file, '..', specifier));
      const shared = [
        'ignore-file.ts',
        'main.ts',
        'suggest.ts',
        'version.ts',
        'doctor/checks.ts',
        'doctor/doctor.ts',
        'builder/dockerfile/excerpt.ts',
      ];
      // what both ends of a build's connections speak
      const wire = ['buildkit/gen/', 'buildkit/wire/'].some((folder) => target.startsWith(folder));
      return !target.startsWith('cli/') && !wire && !shared.includes(target);
    });
    expect(wrong).toEqual([]);
  });
});

/** Static and dynamic imports of all sources below `folder`, with the file relative to the repository. */
function importsOf(folder: string): { file: string; specifier: string }[] {
  return sourcesOf(folder).flatMap((path) => {
    const text = readFileSync(path, 'utf8').replace(/^\s*(\/\/|\*|\/\*).*$/gm, '');
    const found = [
      ...text.matchAll(/^(?:import|export|\})[^'"\n]*\bfrom\s+'([^'\n]+)';?$/gm),
      ...text.matchAll(/^import\s+'([^'\n]+)';?$/gm),
      ...text.matchAll(/\bimport\('([^'\n]+)'\)/g),
    ];
    return found.map(([, specifier]) => ({ file: relative(root, path), specifier: specifier! }));
  });
}

function sourcesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}

function isBuiltin(specifier: string): boolean {
  return specifier.startsWith('node:') || builtinModules.includes(specifier);
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}
