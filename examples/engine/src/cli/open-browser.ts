/** The user's browser. */
import { spawn } from 'node:child_process';
import type { Environment } from './values/key-value.ts';

/** Opens `url` where there is a desktop; where there is none, the printed address is all there is. */
export function openBrowser(url: string, environment: Environment): void {
  if (!environment['DISPLAY'] && !environment['WAYLAND_DISPLAY']) return;
  const child = spawn('xdg-open', [url], { stdio: 'ignore', detached: true });
  // no browser is no failure: the address is on the screen
  child.once('error', () => undefined);
  child.unref();
}
