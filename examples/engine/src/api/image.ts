/** Images. */
import { descriptorSchema, platformSchema } from '@tare/image-spec';
import { z } from 'zod';
import { containerConfig } from './container.ts';
import { flag, graphDriver, imageConfig, integer, text, textMap, texts, time } from './values.ts';

export const manifestSize = z.strictObject({
  Content: integer,
  Total: integer,
});

export const imageDataSize = z.strictObject({
  Unpacked: integer,
});

export const imageProperties = z.strictObject({
  Platform: platformSchema,
  Size: imageDataSize,
  Containers: texts.nullable(),
});

export const attestationProperties = z.strictObject({
  For: text,
});

export const manifestSummary = z.strictObject({
  ID: text,
  Descriptor: descriptorSchema,
  Available: flag,
  Size: manifestSize,
  Kind: text,
  ImageData: imageProperties.optional(),
  AttestationData: attestationProperties.optional(),
});

export const imageSummary = z.strictObject({
  Containers: integer,
  Created: integer,
  Id: text,
  Labels: textMap.nullable(),
  ParentId: text,
  Descriptor: descriptorSchema.optional(),
  Manifests: z.array(manifestSummary).optional(),
  RepoDigests: texts.nullable(),
  RepoTags: texts.nullable(),
  SharedSize: integer,
  Size: integer,
  VirtualSize: integer.optional(),
});

export const rootFs = z.strictObject({
  Type: text.optional(),
  Layers: texts.optional(),
});

export const imageMetadata = z.strictObject({
  LastTagTime: time.optional(),
});

export const imageInspect = z.strictObject({
  Id: text,
  RepoTags: texts.nullable(),
  RepoDigests: texts.nullable(),
  Parent: text,
  Comment: text,
  Created: text.optional(),
  Container: text.optional(),
  ContainerConfig: containerConfig.optional(),
  DockerVersion: text,
  Author: text,
  Config: imageConfig.nullable(),
  Architecture: text,
  Variant: text.optional(),
  Os: text,
  OsVersion: text.optional(),
  Size: integer,
  VirtualSize: integer.optional(),
  GraphDriver: graphDriver,
  RootFS: rootFs,
  Metadata: imageMetadata,
  Descriptor: descriptorSchema.optional(),
  Manifests: z.array(manifestSummary).optional(),
});

export const imageDeleted = z.strictObject({
  Deleted: text.optional(),
  Untagged: text.optional(),
});

export const imagesPruned = z.strictObject({
  ImagesDeleted: z.array(imageDeleted).nullable(),
  SpaceReclaimed: integer,
});

export const imageHistoryItem = z.strictObject({
  Comment: text,
  Created: integer,
  CreatedBy: text,
  Id: text,
  Size: integer,
  Tags: texts.nullable(),
});
