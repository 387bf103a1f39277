/** One test run for the whole workspace, from TypeScript sources (the `@tare/source` condition), without a build. */
import { defaultServerConditions } from 'vite';
import { defineConfig } from 'vitest/config';

const source = '@tare/source';

export default defineConfig({
  resolve: { conditions: [source, ...defaultServerConditions] },
  ssr: { resolve: { conditions: [source, ...defaultServerConditions] } },
  test: {
    include: ['{packages,examples}/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    globalSetup: ['test/lab/global-setup.ts'],
    pool: 'forks',
    execArgv: [`--conditions=${source}`],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // two at a time: the suites share one kernel, and small machines have two cores
    maxWorkers: 2,
  },
});
