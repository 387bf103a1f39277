/** `tare logout`: forgets credentials. */
import { defineCommand } from '../command.ts';
import { authKey } from '../config-file.ts';
import { registryOf } from './login.ts';

/** `logout`. */
export const command = defineCommand({
  usage: '[SERVER]',
  summary: 'Log out from a registry',
  args: { min: 0, max: 1 },
  flags: {},
  async run({ cli, args }) {
    const registry = registryOf(args[0]);
    cli.print(`Removing login credentials for ${authKey(registry)}`);
    await cli.config.erase(registry);
  },
});
