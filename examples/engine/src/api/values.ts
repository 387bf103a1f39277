/**
 * Values that the API's replies are made of. The schemas of this folder say what a client may rely on at the newest
 * version: every field, none besides, and null only where Go has nil. The engine itself renders without them.
 */
import { z } from 'zod';
import { int64 } from '../http/json.ts';

export const text = z.string();
export const texts = z.array(text);
export const textMap = z.record(text, text);
export const flag = z.boolean();
/** Up to 64 bits: a bigint above 2^53. */
export const integer = int64;
/** RFC 3339 with up to nine fraction digits. */
export const time = z
  .string()
  .regex(
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/,
    'expected a time as RFC 3339 has it',
  );

export const ulimit = z.strictObject({ Name: text, Hard: integer, Soft: integer });

export const portBinding = z.strictObject({ HostIp: text, HostPort: text });

export const healthcheck = z.strictObject({
  Test: texts.optional(),
  Interval: integer.optional(),
  Timeout: integer.optional(),
  StartPeriod: integer.optional(),
  StartInterval: integer.optional(),
  Retries: integer.optional(),
});

/** An image's config, with the fields that a container's has besides for clients below API 1.50. */
export const imageConfig = z.looseObject({
  Cmd: texts.nullable().optional(),
  Entrypoint: texts.nullable().optional(),
  Env: texts.nullable().optional(),
  Labels: textMap.nullable().optional(),
  Volumes: z.record(text, z.strictObject({})).nullable().optional(),
  WorkingDir: text.optional(),
  User: text.optional(),
});

/** Where the file system is kept; the data is the driver's own. */
export const graphDriver = z.strictObject({
  Data: textMap.nullable(),
  Name: text,
});
