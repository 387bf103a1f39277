/** What of the configuration may change while the engine runs: dockerd's keys for which SIGHUP is enough. Pure. */
import type { Config } from './config-keys.ts';

const RELOADABLE = [
  'logLevel',
  'labels',
  'registryMirrors',
  'mirrors',
  'insecureRegistries',
  'maxConcurrentDownloads',
  'maxConcurrentUploads',
  'maxDownloadAttempts',
  'shutdownTimeoutS',
] as const satisfies readonly (keyof Config)[];

/** Writes what may change from `next` into the configuration in force. @returns the names of what did change */
export function reloadInto(current: Config, next: Config): string[] {
  const changed = RELOADABLE.filter((key) => JSON.stringify(current[key]) !== JSON.stringify(next[key]));
  for (const key of RELOADABLE) Object.assign(current, { [key]: next[key] });
  return changed;
}

/** The names of what differs and needs a new start. */
export function needsRestart(current: Config, next: Config): string[] {
  return (Object.keys(current) as (keyof Config)[]).filter(
    (key) =>
      !(RELOADABLE as readonly string[]).includes(key) &&
      JSON.stringify(current[key]) !== JSON.stringify(next[key]),
  );
}

/** The attributes of the event `reload`, under the names of daemon.json. */
export function reloadAttributes(config: Config): Record<string, string> {
  return {
    debug: String(config.logLevel === 'debug' || config.logLevel === 'trace'),
    'insecure-registries': JSON.stringify(config.insecureRegistries),
    labels: JSON.stringify(config.labels),
    'live-restore': 'true',
    'max-concurrent-downloads': String(config.maxConcurrentDownloads),
    'max-concurrent-uploads': String(config.maxConcurrentUploads),
    'max-download-attempts': String(config.maxDownloadAttempts),
    mirrors: JSON.stringify(config.mirrors),
    'registry-mirrors': JSON.stringify(config.registryMirrors),
    'shutdown-timeout': String(config.shutdownTimeoutS),
  };
}
