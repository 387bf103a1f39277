/** What this engine calls itself. */

/**
 * Docker's version whose behaviour is served, and ours as build metadata. Tools parse it as semver, and buildx derives
 * features from it, so it stays a plausible Docker version.
 */
export const ENGINE_VERSION = '28.5.2+tare.0.1.0';
/** Our own version. */
export const TARE_VERSION = '0.1.0';
