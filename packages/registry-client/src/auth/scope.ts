/** Token scopes: `type:name:action,action`. @see https://distribution.github.io/distribution/spec/auth/scope/ */

/** The scope to use `repository` for `actions`. */
export function repositoryScope(
  repository: string,
  ...actions: readonly ('pull' | 'push' | 'delete')[]
): string {
  return `repository:${repository}:${actions.join(',')}`;
}

/** The repository that a call with these scopes is for: that of the first, since a mount reads from others besides. */
export function repositoryOf([scope]: readonly string[]): string | undefined {
  return /^repository:(.+):[^:]*$/.exec(scope ?? '')?.[1];
}

/** The scope to list all repositories. */
export const CATALOG_SCOPE = 'registry:catalog:*';

/** Joins scopes of the same resource and sorts them, so that equal needs are equal lists. */
export function mergeScopes(scopes: readonly string[]): string[] {
  const actions = new Map<string, Set<string>>();
  for (const scope of scopes) {
    // the name may hold colons (a host with a port), so the actions are what follows the last one
    const colon = scope.lastIndexOf(':');
    if (colon === -1) continue;
    const resource = scope.slice(0, colon);
    const set = actions.get(resource) ?? new Set();
    for (const action of scope.slice(colon + 1).split(',')) if (action !== '') set.add(action);
    actions.set(resource, set);
  }
  return [...actions].map(([resource, set]) => `${resource}:${[...set].sort().join(',')}`).sort();
}
