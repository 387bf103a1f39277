/** The small value types that the runtime-spec schemas share: bounded integers, paths, names. */
import { z } from 'zod';

/** A string that can reach the kernel: no NUL in it. */
export const text = z.string().refine((value) => !value.includes('\0'), 'must not contain a NUL byte');

/** An absolute path. It is resolved inside the container's root, never by this process. */
export const absolutePath = text.refine((value) => value.startsWith('/'), 'must be an absolute path');

export const uint16 = z.int().min(0).max(0xffff);
export const uint32 = z.int().min(0).max(0xffff_ffff);
/** A 64-bit quantity. JSON numbers above 2^53 lose their low bits; the only such values in use mean "unlimited". */
const integer64 = z.number().refine(Number.isInteger, 'must be an integer');
export const int64 = integer64.min(-(2 ** 63)).max(2 ** 63);
export const uint64 = integer64.min(0, 'must not be negative').max(2 ** 64);

/** A uid or gid. 4294967295 is -1, "no id", to the kernel, so it is refused. */
export const id = z.int().min(0).max(0xffff_fffe);

/** A file mode: permission bits, set-id bits and sticky bit. */
export const fileMode = z.int().min(0).max(0o7777);
