/** API versions: which are served, and how they compare. */
import { invalid } from '../errors.ts';

/** Newest API version served; a request without a version prefix gets it. */
export const API_VERSION = '1.51';
/** Oldest API version served. */
export const MIN_API_VERSION = '1.24';

/** Numeric comparison of `major.minor`: negative, zero or positive, as for sort. */
export function compareVersions(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split('.').map(Number);
  const [bMajor = 0, bMinor = 0] = b.split('.').map(Number);
  return aMajor - bMajor || aMinor - bMinor;
}

/**
 * Splits `/v1.44/info` into version and path.
 *
 * @throws {EngineError} `INVALID` for a version outside the served range, in dockerd's words
 */
export function splitVersion(path: string): { version: string; path: string } {
  const match = /^\/v([0-9][0-9.]*)(\/.*)$/.exec(path);
  if (!match) return { version: API_VERSION, path };
  const version = match[1]!;
  if (compareVersions(version, MIN_API_VERSION) < 0) {
    throw invalid(
      `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, ` +
        'please upgrade your client to a newer version',
    );
  }
  if (compareVersions(version, API_VERSION) > 0) {
    throw invalid(`client version ${version} is too new. Maximum supported API version is ${API_VERSION}`);
  }
  return { version, path: match[2]! };
}
