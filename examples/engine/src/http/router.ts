/** The path table. */
import findMyWay, { type HTTPMethod } from 'find-my-way';
import type { Route } from './route.ts';

/** A route found, with its decoded parameters. */
export interface RouteMatch {
  route: Route;
  params: Readonly<Record<string, string>>;
}

/** Longest decoded parameter; find-my-way's own default of 100 is less than an image reference. */
const MAX_PARAM_LENGTH = 4096;

/**
 * Finds the route of a request.
 *
 * find-my-way matches segment by segment, but image names span several. So each `:name*` is registered as one
 * segment, and a path that does not match as it stands is looked up again with everything between such a route's
 * prefix and its suffix folded into one segment (`/images/a/b/json` → `/images/a%2Fb/json`), longest suffix first.
 */
export class Router {
  readonly #routes = findMyWay({ caseSensitive: true, maxParamLength: MAX_PARAM_LENGTH });
  /** Prefixes of routes with a `:name*`, and the last segments that may follow the name. */
  readonly #greedy = new Map<string, Set<string>>();

  constructor(routes: readonly Route[]) {
    for (const route of routes) this.#add(route);
  }

  #add(route: Route): void {
    const greedy = /^(.*\/):(\w+)\*(?:\/([^/]+))?$/.exec(route.path);
    let path = route.path;
    if (greedy) {
      const [, prefix, name, suffix] = greedy;
      const suffixes = this.#greedy.get(prefix!) ?? new Set<string>();
      if (suffix !== undefined) suffixes.add(suffix);
      this.#greedy.set(prefix!, suffixes);
      path = `${prefix}:${name}${suffix === undefined ? '' : `/${suffix}`}`;
    }
    this.#routes.on(route.method as HTTPMethod, path, () => undefined, route);
  }

  /** The route of `method` and the still encoded `path`, or undefined: unknown path and wrong method are alike. */
  find(method: string, path: string): RouteMatch | undefined {
    return this.#lookup(method, path) ?? this.#lookupFolded(method, path);
  }

  #lookup(method: string, path: string): RouteMatch | undefined {
    const found = this.#routes.find(method as HTTPMethod, path);
    if (!found) return undefined;
    return { route: found.store as Route, params: found.params as Record<string, string> };
  }

  #lookupFolded(method: string, path: string): RouteMatch | undefined {
    for (const [prefix, suffixes] of this.#greedy) {
      if (!path.startsWith(prefix)) continue;
      const rest = path.slice(prefix.length);
      const slash = rest.lastIndexOf('/');
      if (slash > 0 && suffixes.has(rest.slice(slash + 1))) {
        const name = fold(rest.slice(0, slash));
        const match = this.#lookup(method, `${prefix}${name}${rest.slice(slash)}`);
        if (match) return match;
      }
      const match = this.#lookup(method, prefix + fold(rest));
      if (match) return match;
    }
    return undefined;
  }
}

function fold(name: string): string {
  return name.replaceAll('/', '%2F');
}
