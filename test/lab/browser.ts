/** A headless Chromium: Debian's, run from where it was unpacked. */
import { existsSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { chromium, type Browser } from 'playwright-core';
import { componentFolders, COMPONENTS, componentPath, dependencyFolders } from './debian.ts';

/** Puts the files of the other package where Debian's installer would have put them. */
function joinDataFiles(): void {
  const [own, common] = componentFolders(COMPONENTS.browser).map((folder) =>
    join(folder, 'usr/lib/chromium'),
  );
  for (const name of readdirSync(common!)) {
    const place = join(own!, name);
    if (!existsSync(place)) symlinkSync(join(common!, name), place);
  }
}

/** Starts it; the caller closes it. @throws when the component is not there; ask `componentPath` first */
export async function startBrowser(): Promise<Browser> {
  const executablePath = componentPath(COMPONENTS.browser);
  if (executablePath === undefined) throw new Error('chromium-headless-shell is not here');
  joinDataFiles();
  const folders = await dependencyFolders(COMPONENTS.browser);
  const below = (...paths: string[]): string[] =>
    folders.flatMap((folder) => paths.map((path) => join(folder, path))).filter((path) => existsSync(path));
  const libraries = below('usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu', 'usr/lib/aarch64-linux-gnu');
  const [fonts] = below('etc/fonts');
  return chromium.launch({
    executablePath,
    // root has no sandbox of Chromium's; the pages are ours
    args: ['--no-sandbox', '--disable-gpu'],
    env: {
      ...(process.env as Record<string, string>),
      ...(libraries.length > 0 && { LD_LIBRARY_PATH: libraries.join(':') }),
      ...(fonts !== undefined && { FONTCONFIG_PATH: fonts }),
    },
  });
}
