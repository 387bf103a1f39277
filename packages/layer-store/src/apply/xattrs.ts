/** Which extended attributes of an archive reach the disk. */

/** Attributes that mean something to this host, not to the image. */
const HOST_ATTRIBUTES = new Set([
  // labels of the host's policy; the builder's ones would be wrong or refused
  'security.selinux',
  // signed with the key of the machine that made it
  'security.evm',
  // maps ids of the server that the builder's files lay on
  'system.nfs4_acl',
]);

/**
 * Whether the attribute `name` of an archive may be set.
 *
 * Attributes of the overlay file system are refused in every name space: they could forge whiteouts, and redirect or
 * metacopy would show files from elsewhere.
 */
export function isLayerXattr(name: string): boolean {
  return !HOST_ATTRIBUTES.has(name) && !/^(trusted|user)\.overlay\./.test(name);
}
