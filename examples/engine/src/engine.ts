/**
 * The engine: owns everything, starts it in order and ends it in reverse.
 *
 * It knows seams only; which implementation stands behind each is decided in main.ts.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { messageOf } from './errors.ts';
import { EventBus } from './events/event-bus.ts';
import { listen } from './http/listen.ts';
import type { Route } from './http/route.ts';
import { eventRoutes } from './http/routes/events.ts';
import { jobRoutes } from './http/routes/jobs.ts';
import { systemRoutes } from './http/routes/system.ts';
import { HttpServer } from './http/server.ts';
import { JobQueue } from './jobs/job-queue.ts';
import { StateDb } from './state/db.ts';
import { migrations } from './state/migrations.ts';
import { SystemInfo } from './system/system-info.ts';
import { ENGINE_VERSION } from './version.ts';

/** The implementations an engine is made of. */
export interface EngineParts {
  log: Logger;
}

/** A running engine. Disposing of it is the graceful shutdown; containers go on. */
export class Engine implements AsyncDisposable {
  /** Addresses it listens on. */
  readonly addresses: readonly string[];
  readonly #resources: AsyncDisposableStack;

  private constructor(addresses: readonly string[], resources: AsyncDisposableStack) {
    this.addresses = addresses;
    this.#resources = resources;
  }

  /**
   * Starts an engine: state, services, recovery of what an earlier one left, and then the sockets.
   *
   * A start that fails undoes what it did.
   *
   * @throws {EngineError} when the state cannot be opened or an address cannot be listened on
   */
  static async start(config: Config, parts: EngineParts): Promise<Engine> {
    await using resources = new AsyncDisposableStack();
    const { log } = parts;
    mkdirSync(config.dataRoot, { recursive: true, mode: 0o711 });
    mkdirSync(config.execRoot, { recursive: true, mode: 0o711 });

    const db = resources.use(StateDb.open(join(config.dataRoot, 'state.db'), migrations));
    const events = new EventBus();
    const jobs = resources.use(
      new JobQueue({
        started: (job) => log.debug({ job: job.id, kind: job.kind, subject: job.subject }, 'job started'),
        ended: (job) =>
          log.debug({ job: job.id, kind: job.kind, state: job.state, error: job.error }, 'job ended'),
      }),
    );
    const system = new SystemInfo({ config, db, events });

    const routes: Route[] = [...systemRoutes(system), ...eventRoutes(events), ...jobRoutes(jobs)];

    const http = resources.use(new HttpServer({ routes, jobs, log, serverVersion: ENGINE_VERSION }));
    const addresses: string[] = [];
    for (const host of config.hosts) {
      const address = await listen(http.createServer(), host, {
        name: config.group,
        required: config.groupExplicit,
      });
      log.info({ address }, 'API listens');
      addresses.push(address);
    }
    return new Engine(addresses, resources.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** Runs `step` and logs its failure: recovery of one resource must not keep the engine from starting. */
export async function recoverStep(log: Logger, what: string, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    log.error({ err: error }, `recovery of ${what} failed: ${messageOf(error)}`);
  }
}
