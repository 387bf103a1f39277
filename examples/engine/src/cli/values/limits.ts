/** `--ulimit`, `--restart` and capabilities: what a container may use, and what happens when it ends. */
import { UsageError } from '../errors.ts';

const ulimitNames = new Set(
  'core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'.split(
    ' ',
  ),
);

/** An entry of `HostConfig.Ulimits`; -1 is unlimited. */
export interface Ulimit {
  Name: string;
  Hard: number;
  Soft: number;
}

/**
 * `--ulimit name=soft[:hard]`; hard defaults to soft, -1 is unlimited.
 *
 * @throws {UsageError} worded as Docker's
 */
export function parseUlimit(text: string): Ulimit {
  const at = text.indexOf('=');
  if (at === -1) throw new UsageError(`invalid ulimit argument: ${text}`);
  const name = text.slice(0, at);
  const value = text.slice(at + 1);
  if (!ulimitNames.has(name)) throw new UsageError(`invalid ulimit type: ${name}`);
  const parts = value.split(':');
  if (parts.length > 2)
    throw new UsageError(
      `too many limit value arguments - ${value}, can only have up to two, \`soft[:hard]\``,
    );
  const [soft, hard = soft] = parts.map((part) => {
    if (!/^[+-]?\d+$/.test(part)) {
      throw new UsageError(`strconv.ParseInt: parsing ${JSON.stringify(part)}: invalid syntax`);
    }
    return Number(part);
  }) as [number, number?];
  if (hard !== -1) {
    if (soft === -1)
      throw new UsageError(
        `ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: ${hard}`,
      );
    if (soft > hard)
      throw new UsageError(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
  }
  return { Name: name, Hard: hard, Soft: soft };
}

/** `HostConfig.RestartPolicy`. */
export interface RestartPolicy {
  Name: string;
  MaximumRetryCount: number;
}

/**
 * `--restart name[:retries]`. Which combinations make sense is the daemon's business.
 *
 * @throws {UsageError} for a retry count that is no number
 */
export function parseRestart(text: string): RestartPolicy {
  if (text === '') return { Name: '', MaximumRetryCount: 0 };
  const at = text.indexOf(':');
  const name = at === -1 ? text : text.slice(0, at);
  if (name === '') throw new UsageError(`invalid restart policy format: no policy provided before colon`);
  if (at === -1) return { Name: name, MaximumRetryCount: 0 };
  const count = text.slice(at + 1);
  if (!/^[+-]?\d+$/.test(count))
    throw new UsageError('invalid restart policy format: maximum retry count must be an integer');
  return { Name: name, MaximumRetryCount: Number(count) };
}

/** Capability names as the API takes them: upper case with `CAP_`, each once, in order. */
export function normalizeCapabilities(names: readonly string[]): string[] {
  const normal = names.map((name) => {
    const upper = name.trim().toUpperCase();
    return upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  });
  return [...new Set(normal)].sort();
}
