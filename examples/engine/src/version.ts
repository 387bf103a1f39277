/** What this engine calls itself. */

/** Our own version. */
export const TARE_VERSION = '0.1.0';
/**
 * Docker's version whose behaviour is served, and ours as build metadata. Tools parse it as semver, and buildx derives
 * features from it, so it stays a plausible Docker version.
 */
export const ENGINE_VERSION = `28.5.2+tare.${TARE_VERSION}`;

/** Set by the bundler; a checkout that runs from its sources has none. */
declare const __TARE_GIT_COMMIT__: string | undefined;
declare const __TARE_BUILD_TIME__: string | undefined;

/** Commit this was built from, short; `source` when it was not built. */
export const GIT_COMMIT = typeof __TARE_GIT_COMMIT__ === 'string' ? __TARE_GIT_COMMIT__ : 'source';
/** RFC 3339; empty when it was not built. */
export const BUILD_TIME = typeof __TARE_BUILD_TIME__ === 'string' ? __TARE_BUILD_TIME__ : '';
