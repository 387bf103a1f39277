/**
 * Strict validation: everything in which a document breaks its specification, each with its JSON path.
 *
 * Reading (`parseImageManifest` and the like) is lenient where real images are: it takes `null` for absent, and texts that
 * are no valid times, ports or variables. What is to be published should pass here as well.
 */
import { z } from 'zod';
import { digestSchema, type Descriptor } from './descriptor.ts';
import { decodeObject, jsonPath } from './document.ts';
import { embeddedContent } from './empty.ts';
import { ContainerError, ImageSpecError } from './errors.ts';
import { LAYOUT_VERSION } from './image-layout.ts';
import { refuseAmbiguity } from './manifest.ts';
import { MEDIA_TYPES, isConfigType, isIndexType, isManifestType } from './media-types.ts';
import { repeatedKeys } from './repeated-keys.ts';

/** One way in which a document breaks its specification. */
export interface Violation {
  /** For example `$.layers[0].digest`; `$` is the whole. */
  path: string;
  message: string;
}

/** A restricted name of RFC 6838, twice. */
const mediaType = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/,
    'expected a media type: type/subtype',
  );
/** RFC 3339. */
const time = z.iso.datetime({ offset: true, error: 'expected a time as RFC 3339 says' });
const name = z.string().min(1, 'must not be empty');
const texts = z.record(name, z.string());
const uri = z.string().regex(/^[A-Za-z][A-Za-z0-9+.-]*:[^\s<>"{}|\\^`]+$/, 'expected a URL');

const platform = z.looseObject({
  architecture: name,
  os: name,
  'os.version': z.string().optional(),
  'os.features': z.array(z.string()).optional(),
  variant: z.string().optional(),
});
const descriptor = z.looseObject({
  mediaType,
  digest: digestSchema,
  size: z.int().nonnegative(),
  urls: z.array(uri).optional(),
  annotations: texts.optional(),
  data: z.base64().optional(),
  artifactType: mediaType.optional(),
  platform: platform.optional(),
});

/** What OCI's and Docker's documents share; Docker's must say what they are. */
function common(type: string) {
  const own = z.literal(type);
  return {
    schemaVersion: z.literal(2),
    mediaType: type === MEDIA_TYPES.ociIndex || type === MEDIA_TYPES.ociManifest ? own.optional() : own,
    artifactType: mediaType.optional(),
    subject: descriptor.optional(),
    annotations: texts.optional(),
  };
}

function manifest(type: string) {
  return z
    .looseObject({ ...common(type), config: descriptor, layers: z.array(descriptor) })
    .refine(
      ({ config, artifactType }) => config.mediaType !== MEDIA_TYPES.ociEmpty || artifactType !== undefined,
      {
        path: ['artifactType'],
        message: 'must be set, since the config is empty',
      },
    );
}

function index(type: string) {
  const entry =
    type === MEDIA_TYPES.dockerManifestList ? descriptor.required({ platform: true }) : descriptor;
  return z.looseObject({ ...common(type), manifests: z.array(entry) });
}

/** A map to empty objects, which is how Go writes a set. */
const set = (key: z.ZodType<string, string>) => z.record(key, z.looseObject({}));
const port = z.string().regex(/^\d{1,5}(?:-\d{1,5})?(?:\/(?:tcp|udp|sctp))?$/, 'expected port/protocol');
/** Docker takes no interval between nothing and a millisecond. */
const duration = z
  .int()
  .refine((ns) => ns === 0 || ns >= 1_000_000, 'expected 0 or at least a millisecond, in nanoseconds');

const containerConfig = z.looseObject({
  User: z.string().optional(),
  ExposedPorts: set(port).nullish(),
  Env: z.array(z.string().regex(/^[^=]+=/, 'expected NAME=value')).nullish(),
  Entrypoint: z.array(z.string()).nullish(),
  Cmd: z.array(z.string()).nullish(),
  Volumes: set(name).nullish(),
  WorkingDir: z.string().optional(),
  Labels: texts.nullish(),
  StopSignal: z
    .string()
    .regex(/^(?:(?:SIG)?[A-Z][A-Z0-9]*(?:[+-]\d+)?|\d+)?$/, 'expected a signal: its name or number')
    .optional(),
  ArgsEscaped: z.boolean().optional(),
  Healthcheck: z
    .looseObject({
      Test: z
        .array(z.string())
        .refine(
          ([kind, ...rest]) =>
            kind === undefined ||
            (kind === 'NONE'
              ? rest.length === 0
              : kind === 'CMD' || (kind === 'CMD-SHELL' && rest.length === 1)),
          "expected [], ['NONE'], ['CMD', …] or ['CMD-SHELL', command]",
        )
        .nullish(),
      Interval: duration.optional(),
      Timeout: duration.optional(),
      StartPeriod: duration.optional(),
      StartInterval: duration.optional(),
      Retries: z.int().nonnegative().optional(),
    })
    .nullish(),
  OnBuild: z
    .array(
      z
        .string()
        .regex(/^\s*[A-Za-z]+(?:\s|$)/, 'expected an instruction')
        .refine(
          (line) => !/^\s*(?:ONBUILD|FROM|MAINTAINER)\b/i.test(line),
          'must not be ONBUILD, FROM or MAINTAINER',
        ),
    )
    .nullish(),
  Shell: z.array(z.string()).nullish(),
  StopTimeout: z.int().nullish(),
});

const config = z
  .looseObject({
    created: time.optional(),
    author: z.string().optional(),
    architecture: name,
    os: name,
    'os.version': z.string().optional(),
    'os.features': z.array(z.string()).optional(),
    variant: z.string().optional(),
    config: containerConfig.optional(),
    rootfs: z.looseObject({ type: z.literal('layers'), diff_ids: z.array(digestSchema) }),
    history: z
      .array(
        z.looseObject({
          created: time.optional(),
          author: z.string().optional(),
          created_by: z.string().optional(),
          comment: z.string().optional(),
          empty_layer: z.boolean().optional(),
        }),
      )
      .optional(),
  })
  .refine(
    ({ history = [], rootfs }) =>
      history.filter((step) => step.empty_layer !== true).length <= rootfs.diff_ids.length,
    { path: ['history'], message: 'has more steps with a layer than there are in rootfs.diff_ids' },
  );

const layout = z.looseObject({ imageLayoutVersion: z.literal(LAYOUT_VERSION) });

function schemaOf(type: string): z.ZodType | undefined {
  if (isManifestType(type)) return manifest(type);
  if (isIndexType(type)) return index(type);
  if (isConfigType(type)) return config;
  if (type === MEDIA_TYPES.ociLayout) return layout;
  return type === MEDIA_TYPES.ociEmpty ? z.strictObject({}) : undefined;
}

/**
 * Everything that is wrong with a manifest, an index, an image config or the marker of a layout; `[]` for what is right.
 *
 * Unknown keys are not wrong: the specification has readers ignore them. Keys that an object has twice are.
 *
 * @param mediaType what the document is: one of {@link "media-types".MEDIA_TYPES}, with `ociLayout` for `oci-layout`
 * @throws {ImageSpecError} `UNSUPPORTED` for other media types
 */
export async function validateDocument(bytes: Uint8Array, mediaType: string): Promise<Violation[]> {
  const schema = schemaOf(mediaType);
  if (schema === undefined) {
    throw new ImageSpecError(
      'UNSUPPORTED',
      `there are no rules for documents of type ${JSON.stringify(mediaType)}`,
    );
  }
  let value: Record<string, unknown>;
  try {
    value = decodeObject(bytes, 'the document');
    if (isManifestType(mediaType) || isIndexType(mediaType)) refuseAmbiguity(value, 'the document');
  } catch (error) {
    if (!ContainerError.is(error)) throw error;
    return [{ path: '$', message: error.message }];
  }
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  const repeated = repeatedKeys(text, jsonPath).map((path) => ({ path, message: 'is there twice' }));
  const result = schema.safeParse(value);
  const issues = result.error?.issues ?? [];
  return [
    ...repeated,
    ...issues.map((issue) => ({ path: jsonPath(issue.path), message: issue.message })),
    ...(result.success ? await wrongData(value) : []),
  ];
}

/** Content that descriptors carry, and that is not theirs. */
async function wrongData(document: Record<string, unknown>): Promise<Violation[]> {
  const found: Violation[] = [];
  const check = async (path: readonly PropertyKey[], value: unknown): Promise<void> => {
    if (typeof value !== 'object' || value === null) return;
    try {
      await embeddedContent(value as Descriptor);
    } catch (error) {
      if (!ContainerError.is(error)) throw error;
      found.push({ path: jsonPath([...path, 'data']), message: error.message });
    }
  };
  for (const key of ['config', 'subject']) await check([key], document[key]);
  for (const key of ['layers', 'manifests']) {
    const list = document[key];
    if (Array.isArray(list)) for (const [i, entry] of list.entries()) await check([key, i], entry);
  }
  return found;
}
