/** `node src/main.ts CONTEXT NAME`: builds and pushes, and says how it goes. */
import { join } from 'node:path';
import { tmpdir, userInfo } from 'node:os';
import type { BuildOutput } from '@tare/engine/builder';
import { buildAndPush } from './build-image.ts';

const [context, name] = process.argv.slice(2);
if (context === undefined || name === undefined) {
  process.stderr.write('usage: build-image CONTEXT NAME\n');
  process.exit(2);
}

const output: BuildOutput = {
  begin: ({ name: step, kind }) => {
    if (kind !== 'config') process.stdout.write(`${step}\n`);
    return {
      write: (data) => void process.stdout.write(data),
      progress: () => undefined,
      say: () => undefined,
      cached: () => void process.stdout.write(`${step}: cached\n`),
      made: () => undefined,
      end: () => undefined,
    };
  },
  warn: (text) => void process.stderr.write(`warning: ${text}\n`),
};

const root = process.env['BUILD_IMAGE_ROOT'] ?? join(tmpdir(), `build-image-${userInfo().username}`);
const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')));
try {
  const digest = await buildAndPush(root, { context, name, output, signal: interrupted.signal });
  process.stdout.write(`pushed ${name}@${digest}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
