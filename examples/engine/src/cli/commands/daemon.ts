/** `tare daemon`: runs the engine in this process. */
import type { AnyCommand } from '../command.ts';

/** Runs the daemon in this process. Its flags are its own, so they are passed on unread. */
export const command: AnyCommand = {
  usage: '[OPTIONS]',
  summary: 'Run the Tare daemon',
  flags: {},
  async execute(_cli, _path, argv) {
    const { runDaemon } = await import('../../main.ts');
    return runDaemon(argv);
  },
};
