/** A container's config is what its client asked for on top of what its image says. Pure. */
import { invalid } from '../errors.ts';
import type { ContainerConfig } from './create-request.ts';

/** The part of an image's config that a container inherits. Null and absent mean the same. */
export interface ImageDefaults {
  User?: string | null;
  ExposedPorts?: Record<string, unknown> | null;
  Env?: string[] | null;
  Entrypoint?: string[] | null;
  Cmd?: string[] | null;
  Volumes?: Record<string, unknown> | null;
  WorkingDir?: string | null;
  Labels?: Record<string, string> | null;
  StopSignal?: string | null;
  Healthcheck?: ContainerConfig['Healthcheck'] | null;
  Shell?: string[] | null;
  OnBuild?: string[] | null;
}

/**
 * The config with the image's values where it has none of its own.
 *
 * An entrypoint of its own drops the image's command, since that was written for the image's entrypoint; `[""]` takes
 * the image's entrypoint away.
 *
 * @throws {EngineError} `INVALID` when nothing says what to run
 */
export function mergeConfig(own: ContainerConfig, image: ImageDefaults): ContainerConfig {
  const config: ContainerConfig = { ...own };
  if (!config.User && image.User) config.User = image.User;
  if (!config.WorkingDir && image.WorkingDir) config.WorkingDir = image.WorkingDir;
  if (!config.StopSignal && image.StopSignal) config.StopSignal = image.StopSignal;
  config.Env = mergeEnv(own.Env, image.Env);
  config.Labels = { ...image.Labels, ...own.Labels };
  if (image.ExposedPorts) config.ExposedPorts = { ...emptied(image.ExposedPorts), ...own.ExposedPorts };
  if (image.Volumes) config.Volumes = { ...emptied(image.Volumes), ...own.Volumes };
  if (!own.Shell?.length && image.Shell) config.Shell = image.Shell;
  if (image.Healthcheck) config.Healthcheck = mergeHealthcheck(own.Healthcheck, image.Healthcheck);

  if (!own.Entrypoint?.length) {
    if (!own.Cmd?.length && image.Cmd) config.Cmd = image.Cmd;
    if (own.Entrypoint === undefined && image.Entrypoint) config.Entrypoint = image.Entrypoint;
  }
  if (config.Entrypoint?.length === 1 && config.Entrypoint[0] === '') delete config.Entrypoint;
  if (!config.Entrypoint?.length && !config.Cmd?.length) throw invalid('no command specified');
  return config;
}

/** What the process runs: the entrypoint with the command as its arguments, or the command alone. */
export function pathAndArgs(config: ContainerConfig): { path: string; args: string[] } {
  const [path = '', ...args] = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  return { path, args };
}

/** The container's own variables first, then the image's that it does not set. */
function mergeEnv(own: string[] | undefined, image: string[] | null | undefined): string[] {
  const names = new Set((own ?? []).map(envName));
  return [...(own ?? []), ...(image ?? []).filter((entry) => !names.has(envName(entry)))];
}

function envName(entry: string): string {
  const at = entry.indexOf('=');
  return at < 0 ? entry : entry.slice(0, at);
}

function mergeHealthcheck(
  own: ContainerConfig['Healthcheck'],
  image: NonNullable<ContainerConfig['Healthcheck']>,
): ContainerConfig['Healthcheck'] {
  if (!own) return image;
  const merged = { ...own };
  if (!own.Test?.length && image.Test) merged.Test = image.Test;
  for (const key of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval', 'Retries'] as const) {
    const inherited = image[key];
    if (!own[key] && inherited) merged[key] = inherited;
  }
  return merged;
}

function emptied(set: Record<string, unknown>): Record<string, Record<string, never>> {
  return Object.fromEntries(Object.keys(set).map((key) => [key, {}]));
}

/**
 * The process's environment: a default PATH, HOSTNAME, TERM on a terminal, then the config's variables over them. An
 * entry without `=` takes its variable away.
 */
export function processEnv(config: ContainerConfig, hostname: string): string[] {
  const env = new Map<string, string>([
    ['PATH', '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    ['HOSTNAME', hostname],
  ]);
  if (config.Tty) env.set('TERM', 'xterm');
  for (const entry of config.Env ?? []) {
    const at = entry.indexOf('=');
    if (at < 0) env.delete(entry);
    else env.set(entry.slice(0, at), entry.slice(at + 1));
  }
  return [...env].map(([name, value]) => `${name}=${value}`);
}
