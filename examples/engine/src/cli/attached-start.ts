/** Starting a container with its streams joined to ours, and ending with its exit code: the heart of `run`. */
import type { IncomingMessage } from 'node:http';
import type { Cli } from './cli.ts';
import { readText } from './client.ts';
import { CliError, messageOf } from './errors.ts';
import { parseJson } from './format/json-text.ts';
import type { PortBinding } from './values/ports.ts';
import { runSession } from './stdio-session.ts';
import { proxySignals } from './signals.ts';
import { followTerminalSize } from './terminal.ts';

/** What the client reads of a container's inspection. */
export interface ContainerDetails {
  Id: string;
  State: { Running: boolean; Paused: boolean; Restarting: boolean };
  Config: { Tty: boolean; OpenStdin: boolean };
  HostConfig: { AutoRemove: boolean };
  NetworkSettings: { Ports?: Record<string, PortBinding[] | null> | null };
}

/** How a created container is attached and started. */
export interface AttachedStart {
  id: string;
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  tty: boolean;
  autoRemove: boolean;
  detachKeys: string | undefined;
  sigProxy: boolean;
}

/**
 * Attaches, waits, starts, in this order: neither the first output nor an immediate exit can be missed.
 *
 * @returns the container's exit code; 0 when the user detached
 */
export async function attachAndStart(cli: Cli, options: AttachedStart): Promise<number> {
  const { id, stdin, stdout, stderr, tty } = options;
  using _signals = options.sigProxy ? proxySignals(cli, id) : undefined;
  const socket = await cli.client.hijack(`/containers/${id}/attach`, {
    query: { stream: true, stdin, stdout, stderr, detachKeys: options.detachKeys },
  });
  const exit = waitForExit(cli, id, options.autoRemove);
  const session = runSession(cli, socket, { stdin, stdout, stderr, tty, detachKeys: options.detachKeys });
  // Handled below; until the start is through, a failure here must not count as unhandled.
  session.catch(() => undefined);
  let stopFollowing: (() => void) | undefined;
  try {
    await exit.registered;
    await cli.client.text('POST', `/containers/${id}/start`);
    if (tty && cli.stdout.isTTY) stopFollowing = followTerminalSize(cli, `/containers/${id}`);
    if ((await session) === 'detached') return 0;
  } catch (error) {
    // Ends the session, which gives the terminal back before anything is printed.
    socket.destroy();
    await session.catch(() => undefined);
    // With --rm the container goes away on its own after a failed start; leaving earlier would leave it behind.
    if (options.autoRemove) await exit.code;
    throw error;
  } finally {
    stopFollowing?.();
  }
  return exit.code;
}

/** A container's coming end. */
export interface ExitWatch {
  /** The daemon has taken the request: from now on no exit is missed. */
  registered: Promise<void>;
  /** The exit code; 125 when the daemon could not tell. Never rejects. */
  code: Promise<number>;
}

/** Asks the daemon for a container's next exit, or with `removed` for its removal, which comes after. */
export function waitForExit(cli: Cli, id: string, removed: boolean): ExitWatch {
  const condition = removed ? 'removed' : 'next-exit';
  const response = cli.client.call('POST', `/containers/${id}/wait`, { query: { condition } });
  const code = response.then(readCode).catch((error: unknown) => {
    cli.warn(`Error waiting for container: ${messageOf(error)}`);
    return 125;
  });
  return { registered: response.then(() => undefined), code };
}

async function readCode(response: IncomingMessage): Promise<number> {
  const result = parseJson(await readText(response)) as {
    StatusCode: number;
    Error?: { Message: string } | null;
  };
  if (result.Error) throw new CliError(result.Error.Message);
  return result.StatusCode;
}
