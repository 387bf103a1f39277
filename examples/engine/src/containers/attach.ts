/** Attaching a client to a container's stdio, before its start or while it runs. */
import { conflict } from '../errors.ts';
import type { HijackedStream } from '../http/hijack.ts';
import { LogReader } from '../logs/json-file.ts';
import { parseDetachKeys } from './detach-keys.ts';
import { StdioClient } from './stdio-client.ts';
import type { LiveContainer } from './store.ts';
import { logOf, type ContainerWorld } from './world.ts';

/** What the client takes part in. */
export interface AttachOptions {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  /** Replay the log first. */
  logs: boolean;
  /** Stay for what comes; otherwise leave after the log. */
  stream: boolean;
  /** Output goes as it is, also that of a process without a terminal. */
  raw?: boolean;
  /** Empty for the default. */
  detachKeys: string;
  signal: AbortSignal;
}

/**
 * Attaches a client; resolves when it has ended, detached or gone, and its connection has been ended.
 *
 * @param hijack - takes the connection over; called once the client is sure to get what it asked for
 * @throws {EngineError} `CONFLICT` when paused or restarting, before the connection is taken over
 */
export async function attachContainer(
  world: ContainerWorld,
  container: LiveContainer,
  options: AttachOptions,
  hijack: (multiplexed: boolean) => Promise<HijackedStream>,
): Promise<void> {
  const keys = parseDetachKeys(options.detachKeys);
  const terminal = container.record.config.Tty === true;
  let client: StdioClient;
  let connection: HijackedStream;
  {
    // a start that follows right after the reply must find the client registered
    using _lock = await container.lock.acquire();
    if (container.state.paused) {
      throw conflict(`container ${container.id} is paused, unpause the container before attach`);
    }
    if (container.state.restarting) {
      throw conflict(`container ${container.id} is restarting, wait until the container is running`);
    }
    const multiplexed = !terminal && options.raw !== true;
    connection = await hijack(multiplexed);
    client = new StdioClient(connection.duplex, {
      stdin: options.stdin && options.stream && container.record.config.OpenStdin === true,
      stdout: options.stdout,
      stderr: options.stderr,
      terminal,
      multiplexed,
      detachKeys: keys,
      endsWithInput: !terminal && container.record.config.StdinOnce !== true,
      signal: options.signal,
    });
    if (options.logs) await replayLog(world, container, client, options.signal);
    if (options.stream) {
      container.clients.add(client);
      void client.done.then(() => container.clients.delete(client));
      if (container.handle) await client.connect(container.handle);
    }
  }
  world.store.publish(container, 'attach');
  if (options.stream && (await client.done) === 'detached') world.store.publish(container, 'detach');
  if (!options.stream) client.end();
  connection.duplex.end();
}

async function replayLog(
  world: ContainerWorld,
  container: LiveContainer,
  client: StdioClient,
  signal: AbortSignal,
): Promise<void> {
  const kept = logOf(world, container.record);
  if (!kept) return;
  await using log = await LogReader.open(kept.path, { signal });
  for await (const entries of log) {
    for (const { stream, text } of entries) await client.write(stream, Buffer.from(text));
  }
}
