import { webcrypto } from 'node:crypto';
import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

test('bundles for a browser without any Node.js module, and runs there', async () => {
  const { outputFiles, metafile } = await build({
    stdin: {
      contents: `
        import * as spec from './src/index.ts';
        const { digestOf, parseReference, validateDocument, EMPTY_JSON, MEDIA_TYPES } = globalThis.spec = spec;
        import { MemoryContent, copyGraph } from './src/content/index.ts';
        import { contentStoreSuite } from './src/testing/index.ts';
        globalThis.result = (async () => {
          const tests = [];
          contentStoreSuite({ describe: (_, f) => f(), it: (_, f) => tests.push(f) }, 'memory', async () => new MemoryContent());
          for (const test of tests) await test();
          const wrong = await validateDocument(EMPTY_JSON, MEDIA_TYPES.ociManifest);
          return [tests.length, parseReference('alpine').repository, await digestOf(new Uint8Array()), wrong.map(({ path }) => path)];
        })();`,
      resolveDir: new URL('..', import.meta.url).pathname,
    },
    bundle: true,
    write: false,
    metafile: true,
    platform: 'browser',
    conditions: ['@tare/source'],
  });
  expect(Object.values(metafile.inputs).flatMap(({ imports }) => imports.filter((i) => i.external))).toEqual(
    [],
  );
  const browser = createContext({
    TextEncoder,
    TextDecoder,
    AbortController,
    atob,
    AbortSignal,
    crypto: webcrypto,
  });
  runInContext(outputFiles[0]!.text, browser);
  const [tests, repository, digest, wrong] = await (browser['result'] as Promise<unknown[]>);
  expect(tests).toBeGreaterThan(10);
  expect(repository).toBe('library/alpine');
  expect(wrong).toEqual(['$.schemaVersion', '$.config', '$.layers']);
  expect(digest).toBe('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
});
