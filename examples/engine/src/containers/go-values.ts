/** The value types of Go's API structs that JSON alone does not have: saturated integers, a string for a list. */
import { z } from 'zod';

/** The largest double below 2^63: what "no limit" values become, still an int64 when printed. */
const MAX_INT64 = 9_223_372_036_854_774_784;

/** An int64 as a number: exact up to 2^53, saturated at the ends of the range. */
export const integer = z
  .union([z.int(), z.bigint(), z.number().refine(Number.isInteger, 'expected an integer')])
  .transform((value) => Math.max(-MAX_INT64, Math.min(MAX_INT64, Number(value))));

/** A command line: an array, or one string that counts as an array of one, as `docker`'s oldest clients send it. */
export const commandLine = z.union([z.array(z.string()), z.string().transform((text) => [text])]);

/** A Go `[]string`: absent is null. */
export const strings = z.array(z.string());

/** A Go `map[string]string`. */
export const stringMap = z.record(z.string(), z.string());

/** A Go `map[string]struct{}`. */
export const stringSet = z.record(
  z.string(),
  z.unknown().transform(() => ({})),
);
