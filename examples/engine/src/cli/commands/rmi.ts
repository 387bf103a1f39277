/** `tare rmi`: removes images. */
import { defineCommand } from '../command.ts';
import { DaemonError, ManyErrors } from '../errors.ts';
import { list, toggle } from '../flags.ts';
import { platformJson } from '../values/platform.ts';

/** What the daemon did to remove an image, one entry a step. */
export interface RemovalStep {
  Untagged?: string;
  Deleted?: string;
}

/** `rmi`. */
export const command = defineCommand({
  usage: '[OPTIONS] IMAGE [IMAGE...]',
  summary: 'Remove one or more images',
  args: { min: 1, max: Infinity },
  flags: {
    force: toggle('Force removal of the image', { short: 'f' }),
    noPrune: toggle('Do not delete untagged parents'),
    platform: list('Remove only the given platform variant', { placeholder: 'strings' }),
  },
  async run({ cli, flags, args }) {
    const platforms = flags.platform.flatMap((text) => platformJson(text) ?? []);
    const failures: unknown[] = [];
    for (const image of args) {
      try {
        const query = { force: flags.force, noprune: flags.noPrune, platforms };
        for (const step of await cli.client.json<RemovalStep[]>('DELETE', `/images/${image}`, { query })) {
          cli.print(step.Deleted === undefined ? `Untagged: ${step.Untagged}` : `Deleted: ${step.Deleted}`);
        }
      } catch (error) {
        // With --force a missing image is worth a line, not a failure.
        if (flags.force && error instanceof DaemonError && error.status === 404) cli.warn(error.message);
        else failures.push(error);
      }
    }
    if (failures.length > 0) throw new ManyErrors(failures);
  },
});
