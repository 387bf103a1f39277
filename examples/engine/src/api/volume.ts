/** Volumes. */
import { z } from 'zod';
import { integer, text, textMap, texts } from './values.ts';

export const volumeUsage = z.strictObject({
  RefCount: integer,
  Size: integer,
});

export const volume = z.strictObject({
  CreatedAt: text.optional(),
  Driver: text,
  Labels: textMap.nullable(),
  Mountpoint: text,
  Name: text,
  Options: textMap.nullable(),
  Scope: text,
  Status: z.record(text, z.unknown()).optional(),
  UsageData: volumeUsage.optional(),
});

export const volumeList = z.strictObject({
  Volumes: z.array(volume).nullable(),
  Warnings: texts.nullable(),
});

export const volumesPruned = z.strictObject({
  VolumesDeleted: texts.nullable(),
  SpaceReclaimed: integer,
});
