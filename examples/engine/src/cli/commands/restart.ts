/** `tare restart`: stops and starts containers. */
export { restart as command } from './stop.ts';
