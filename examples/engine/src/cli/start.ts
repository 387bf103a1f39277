/** The process's entry: runs the command line on this process's arguments and ends with its exit code. */
import { main } from './main.ts';

// 128 + SIGPIPE, what a program has that dies of a closed pipe (`tare ps | head -1`).
const closedPipe = 141;

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(closedPipe);
    throw error;
  });
}

const exitCode = await main(process.argv.slice(2));
// Output to files, pipes and terminals is synchronous, so nothing is lost; waiting for an idle stdin would be forever.
process.exit(exitCode);
