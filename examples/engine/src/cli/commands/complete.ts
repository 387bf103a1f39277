/** `tare __complete`: a candidate a line, with a tab before its description; `:files` when names of files are among them. */
import { defineCommand } from '../command.ts';

/** `__complete`. */
export const command = defineCommand({
  usage: '-- [WORD...]',
  summary: 'List how a command line may go on, for shells',
  args: { min: 0, max: Infinity },
  stopsAtArgument: true,
  flags: {},
  async run({ cli, args }) {
    const { complete } = await import('../completion.ts');
    const { candidates, files } = await complete(cli, args);
    for (const { text, description } of candidates) cli.print(`${text}\t${description.split('\n', 1)[0]}`);
    if (files) cli.print(':files');
  },
});
