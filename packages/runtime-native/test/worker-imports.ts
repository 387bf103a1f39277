/** What the test of worker threads uses. */
export { watchReadable } from '../src/process.ts';
export { socketpair } from '../src/unix-socket.ts';
