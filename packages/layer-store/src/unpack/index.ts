export { serveUnpacking } from './serve.ts';
