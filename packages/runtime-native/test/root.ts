/** What the tests that need root share. */
import { release } from 'node:os';

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

/** Whether this kernel is of that version or a later one, for what older ones cannot do. */
export function kernelHas(major: number, minor: number): boolean {
  const [ownMajor = 0, ownMinor = 0] = release().split('.').map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}
