export { restart as command } from './stop.ts';
