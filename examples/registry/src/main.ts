/** The registry from the command line: `main.ts --root <directory> [--host 127.0.0.1] [--port 5000]`. */
import { parseArgs } from 'node:util';
import { startRegistry } from './registry.ts';

const USAGE = 'usage: registry --root <directory> [--host 127.0.0.1] [--port 5000]';

function readArguments() {
  const { values } = parseArgs({
    options: {
      root: { type: 'string' },
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '5000' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  const port = Number(values.port);
  if (values.root === undefined) throw new TypeError('--root is missing');
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new TypeError(`--port ${values.port} is no port`);
  return { root: values.root, host: values.host, port };
}

async function main(): Promise<void> {
  let options: ReturnType<typeof readArguments>;
  try {
    options = readArguments();
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`);
    process.exitCode = 2;
    return;
  }
  if (options === undefined) {
    console.log(USAGE);
    return;
  }
  const { promise: stopped, resolve: stop } = Promise.withResolvers<NodeJS.Signals>();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  await using registry = await startRegistry(options);
  console.log(`listening on ${registry.url}`);
  await stopped;
}

await main();
