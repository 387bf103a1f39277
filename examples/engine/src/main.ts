/** The composition root: the only file that names implementations. */
import { pino } from 'pino';
import { DAEMON_USAGE, loadConfig, type Config } from './config.ts';
import { Engine } from './engine.ts';
import { messageOf } from './errors.ts';
import { Pidfile } from './pidfile.ts';

/**
 * `tare daemon`: runs until SIGTERM or SIGINT.
 *
 * @param argv - the arguments after `daemon`
 * @returns the exit code
 */
export async function runDaemon(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(DAEMON_USAGE);
    return 0;
  }
  let config: Config;
  try {
    const parsed = loadConfig(argv);
    if (parsed.validate) {
      process.stdout.write('configuration OK\n');
      return 0;
    }
    ({ config } = parsed);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    return 1;
  }

  const log = pino({ level: config.logLevel, base: null }, pino.destination({ fd: 2, sync: true }));
  // before anything starts: a signal during the start ends it right after
  const stop = stopSignal(config.shutdownTimeoutS);
  try {
    using _pidfile = Pidfile.acquire(config.pidfile);
    await using _engine = await Engine.start(config, { log });
    const signal = await stop;
    log.info({ signal }, 'shutting down');
  } catch (error) {
    log.fatal({ err: error }, messageOf(error));
    return 1;
  }
  log.info('engine has stopped');
  return 0;
}

/** Signals after the first that make the engine leave at once. */
const FORCE_SIGNALS = 3;

/** Resolves at the first SIGTERM or SIGINT; the third, or a shutdown that takes too long, ends the process. */
function stopSignal(timeoutS: number): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let count = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    count += 1;
    if (count >= FORCE_SIGNALS) process.exit(1);
    if (count > 1) return;
    resolve(signal);
    setTimeout(() => {
      process.stderr.write(`shutdown took longer than ${timeoutS} seconds; leaving\n`);
      process.exit(1);
    }, timeoutS * 1000).unref();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return promise;
}

if (import.meta.main) process.exitCode = await runDaemon(process.argv.slice(2));
