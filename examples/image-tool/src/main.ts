/** The command: `image-tool copy alpine:3.20 oci:./alpine`, and the rest. */
import { pipeline } from 'node:stream/promises';
import { CommanderError } from 'commander';
import { runTool } from './tool.ts';

const stop = new AbortController();
/** Why nothing more can be written, if that is so. */
let unwritable: NodeJS.ErrnoException | undefined;
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  unwritable = error;
  stop.abort(error);
});
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => stop.abort(new Error(`ended by ${name}`)));
}
try {
  const well = await runTool(process.argv.slice(2), {
    signal: stop.signal,
    write: (bytes) => pipeline(bytes, process.stdout, { end: false }),
  });
  if (!well) process.exitCode = 1;
} catch (error) {
  // commander has said what is wrong with the command line itself
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  // who reads only the beginning has what he wanted: 128 + SIGPIPE, as a program that dies of a closed pipe
  else if (unwritable?.code === 'EPIPE') process.exitCode = 141;
  else {
    process.stderr.write(`image-tool: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
