/** The plain record that layer-store hands to whoever mounts; runtime-native takes the same shape. */

/** One file system to mount, as in mount(8): nothing here mounts anything. */
export interface Mount {
  /** File system type, for example `'overlay'` or `'bind'`. */
  type: string;
  /** Device or directory; `'overlay'` for overlay mounts. */
  source: string;
  /**
   * Mount options, for example `['lowerdir=/a:/b', 'upperdir=/u', 'workdir=/w']`, each one option. In `lowerdir` the
   * topmost layer comes first. A reader that knows the new mount API sets one `lowerdir+` per layer, so that the
   * page-size limit of mount(2) does not apply.
   */
  options: string[];
}

/** The same, showing owners as the user namespace at a path has them. */
export function withOwnersOf(mount: Mount, userNamespace: string): Mount {
  return { ...mount, options: [...mount.options, `X-mount.idmap=${userNamespace}`] };
}
