/** Names in the file system, as the calls of this package take them. */

/** Text, or the raw bytes of a name that is not UTF-8. */
export type Path = string | Uint8Array;
