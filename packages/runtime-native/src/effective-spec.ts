/** What a container is really made from: the caller's spec, and what follows from who the caller is. */
import { isOwnUserNamespace, mappingsAt, rootlessMappings } from './caller.ts';
import type { Caller } from './plan/context.ts';
import type { Spec } from './spec/config.ts';

/**
 * The spec with a user namespace for a caller who can make a container in no other way, and with the mappings of one
 * that it joins.
 */
export function effectiveSpec(spec: Spec, caller: Caller): Spec {
  const { namespaces = [] } = spec.linux ?? {};
  const user = namespaces.find(({ type }) => type === 'user');
  const maps = user ? joinedMappings(user.path) : caller.privileged ? undefined : rootlessMappings(caller);
  if (user?.path !== undefined && isOwnUserNamespace(user.path)) {
    return { ...spec, linux: { ...spec.linux, namespaces: namespaces.filter((one) => one !== user) } };
  }
  if (!maps) return spec;
  return {
    ...spec,
    linux: {
      ...spec.linux,
      namespaces: user ? namespaces : [...namespaces, { type: 'user' }],
      uidMappings: spec.linux?.uidMappings ?? maps.uids,
      gidMappings: spec.linux?.gidMappings ?? maps.gids,
    },
  };
}

function joinedMappings(path: string | undefined): ReturnType<typeof mappingsAt> {
  return path === undefined ? undefined : mappingsAt(path);
}
