/** What the tests that need root share. */
import { describe } from 'vitest';

const reason =
  process.platform !== 'linux' ? 'needs Linux' : process.getuid?.() !== 0 ? 'needs root' : undefined;

/** `describe` that is skipped, with the reason printed, unless this process is root on Linux. */
export function describeAsRoot(name: string, body: () => void): void {
  if (reason) {
    console.warn(`skipped: ${name} (${reason})`);
    describe.skip(`${name} (${reason})`, body);
  } else {
    describe(name, body);
  }
}
