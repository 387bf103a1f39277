/** `tare login`: keeps credentials that the registry has accepted. */
import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';
import type { Cli } from '../cli.ts';
import { authKey } from '../config-file.ts';
import { defineCommand } from '../command.ts';
import { CliError, UsageError } from '../errors.ts';
import { string, toggle } from '../flags.ts';

/** `login`. */
export const command = defineCommand({
  usage: '[OPTIONS] [SERVER]',
  summary: 'Authenticate to a registry',
  args: { min: 0, max: 1 },
  flags: {
    password: string('Password', { short: 'p' }),
    passwordStdin: toggle('Take the password from stdin'),
    username: string('Username', { short: 'u' }),
  },
  async run({ cli, flags, args, given }) {
    if (flags.passwordStdin && given.has('password')) {
      throw new UsageError('--password and --password-stdin are mutually exclusive');
    }
    if (flags.passwordStdin && flags.username === '')
      throw new UsageError('the --password-stdin option requires --username to be set');
    if (given.has('password')) {
      cli.warn('WARNING! Using --password via the CLI is insecure. Use --password-stdin.');
    }
    const registry = registryOf(args[0]);
    const username = flags.username || (await ask(cli, 'Username: '));
    const password = flags.passwordStdin
      ? await readStdin(cli)
      : flags.password || (await askHidden(cli, 'Password: '));
    if (username === '' || password === '')
      throw new CliError('username and password are both needed to log in');
    const answer = await cli.client.json<{ Status: string }>('POST', '/auth', {
      json: { username, password, serveraddress: authKey(registry) },
    });
    await cli.config.store(registry, { username, password });
    cli.print(answer.Status || 'Login Succeeded');
  },
});

/** The registry a server argument names; URLs lose their scheme and path. */
export function registryOf(server: string | undefined): string {
  return server ? server.replace(/^https?:\/\//, '').replace(/\/.*$/, '') : 'docker.io';
}

function requireTerminal(cli: Cli): void {
  if (!cli.stdin.isTTY)
    throw new CliError('Error: Cannot perform an interactive login from a non TTY device');
}

async function ask(cli: Cli, prompt: string): Promise<string> {
  requireTerminal(cli);
  using reader = createInterface({ input: cli.stdin, output: cli.stdout });
  return (await reader.question(prompt)).trim();
}

async function askHidden(cli: Cli, prompt: string): Promise<string> {
  requireTerminal(cli);
  cli.stdout.write(prompt);
  cli.stdin.setRawMode?.(true);
  try {
    let typed = '';
    for (;;) {
      const [chunk] = (await once(cli.stdin, 'data')) as [Buffer];
      for (const char of chunk.toString()) {
        if (char === '\r' || char === '\n') return typed;
        if (char === '\x03' || char === '\x04') throw new CliError('login cancelled');
        typed = char === '\x7f' || char === '\b' ? typed.slice(0, -1) : typed + char;
      }
    }
  } finally {
    cli.stdin.setRawMode?.(false);
    cli.stdin.pause();
    cli.stdout.write('\n');
  }
}

async function readStdin(cli: Cli): Promise<string> {
  let text = '';
  for await (const chunk of cli.stdin) text += String(chunk);
  return text.replace(/\r?\n$/, '');
}
