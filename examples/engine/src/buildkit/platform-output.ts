/** What a build for one of several platforms tells: its steps say for which they are. */
import { formatPlatform, type Platform } from '@tare/image-spec';

import type { BuildOutput } from '../builder/output.ts';

/**
 * @param platform - undefined: for a build that is the only one
 * @param told - warnings that were told: all platforms have the same Dockerfile
 */
export function outputOf(
  output: BuildOutput,
  platform: Platform | undefined,
  told: Set<string>,
): BuildOutput {
  if (platform === undefined) return output;
  const name = formatPlatform(platform);
  const own = (id: string): string => `${name} ${id}`;
  return {
    begin: (step) =>
      output.begin({
        ...step,
        id: own(step.id),
        inputs: step.inputs.map(own),
        name: step.name.replace(/^\[(?!internal\])/, `[${name} `),
      }),
    warn(text, lint) {
      if (told.has(text)) return;
      told.add(text);
      output.warn(text, lint);
    },
  };
}
