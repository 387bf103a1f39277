/** What becomes of a build's result: an image here or at a registry, or files at the client. */
import { Code, ConnectError } from '@connectrpc/connect';
import { withDefaultTag, type Digest } from '@tare/image-spec';

import { compressedImage, pushImage } from '../builder/in-engine/push.ts';
import { buildLayers, saveImage, type BuildParts } from '../builder/in-engine/parts.ts';
import { asStep, transfer, type BuildOutput } from '../builder/output.ts';
import type { Solved } from '../builder/solve.ts';
import { withStageRoot } from '../builder/state.ts';
import { canonicalTag, parseTagParameters } from '../images/names.ts';
import { removeInternalImage } from '../images/remove.ts';
import { saveImageAs } from '../images/save.ts';
import { sendResult } from './file-sync.ts';
import { FileSend } from './gen/file-send_pb.ts';
import type { Exporter } from './gen/control_pb.ts';
import { credentials } from './credentials.ts';
import type { Session } from './sessions.ts';

/** What an export works with. */
export interface ExportPlace {
  parts: BuildParts;
  session: () => Promise<Session>;
  output: BuildOutput;
  signal: AbortSignal;
}

type Attributes = Readonly<Record<string, string>>;

/** Does one export. @returns what the client learns of it */
export async function exportResult(
  { type, attrs }: Pick<Exporter, 'type' | 'attrs'>,
  solved: Solved,
  place: ExportPlace,
): Promise<Record<string, string>> {
  const { output } = place;
  const step = (name: string) => transfer(`export ${name}`, name);
  refuseUnknown(type, attrs);
  switch (type) {
    case 'moby':
    case 'image':
      return asStep(output, step('exporting to image'), () => toImage(attrs, solved, place));
    case 'docker':
    case 'oci':
      return asStep(output, step(`exporting to ${type} image format`), () => toArchive(attrs, solved, place));
    case 'tar':
      await asStep(output, step('sending tarball'), () => withResult(solved, place, sendTree));
      return {};
    case 'local':
      await asStep(output, step('copying files'), () => withResult(solved, place, sendDirectory));
      return {};
    default:
      throw new ConnectError(
        `the exporter ${type} is not there: image, docker, oci, tar and local are`,
        Code.Unimplemented,
      );
  }
}

/** What would change the result, and is not done here, is no secret. */
function refuseUnknown(type: string, attrs: Attributes): void {
  const asked = (name: string, ...without: string[]): boolean =>
    attrs[name] !== undefined && !without.includes(attrs[name]);
  const wrong = asked('compression', 'gzip')
    ? 'compression'
    : asked('tar', 'true')
      ? 'tar'
      : asked('push-by-digest', 'false')
        ? 'push-by-digest'
        : Object.keys(attrs).find((name) => name.startsWith('annotation'));
  if (wrong === undefined) return;
  throw new ConnectError(`the exporter ${type} does not know ${wrong}=${attrs[wrong]}`, Code.Unimplemented);
}

function namesOf(attrs: Attributes) {
  const names = (attrs['name'] ?? '').split(',').filter((name) => name !== '');
  return names.map((name) => parseTagParameters(name, ''));
}

async function toImage(
  attrs: Attributes,
  solved: Solved,
  { parts, session, signal }: ExportPlace,
): Promise<Record<string, string>> {
  const names = namesOf(attrs);
  const id = await saveImage(parts, solved, names, signal);
  if (attrs['push'] === 'true') {
    const auth = async (registry: string) => credentials(await session(), registry);
    for (const name of names) await pushImage(parts, solved, name, { auth, signal });
  }
  return { ...identity(id), ...(names.length > 0 ? { 'image.name': attrs['name']! } : {}) };
}

function identity(id: Digest): Record<string, string> {
  return { 'containerimage.digest': id, 'containerimage.config.digest': id };
}

/** An archive that is an OCI layout and what `docker load` reads, at once. */
async function toArchive(
  attrs: Attributes,
  solved: Solved,
  { parts, session, signal }: ExportPlace,
): Promise<Record<string, string>> {
  const { images } = parts;
  const known = new Set(images.table.list().map(({ id }) => id));
  const image = await compressedImage(parts, solved, signal);
  // an archive is one of an image: this one has no name, and goes when it was not there
  const id = await saveImage(parts, { image: () => image }, [], signal);
  try {
    const names = namesOf(attrs).map((name) => canonicalTag(withDefaultTag(name)));
    const archive = await saveImageAs(images, id, new Set(names), signal);
    await sendArchive(await session(), archive, signal);
  } finally {
    if (!known.has(id)) await removeInternalImage(images, id);
  }
  return identity(id);
}

async function withResult(
  solved: Solved,
  place: ExportPlace,
  send: (root: string, place: ExportPlace, session: Session) => Promise<void>,
): Promise<void> {
  const { parts, session } = place;
  const root = { layers: buildLayers(parts), trees: parts.trees };
  const open = await session();
  await withStageRoot(root, solved.state.chain.at(-1), (path) => send(path, place, open));
}

async function sendTree(root: string, { parts, signal }: ExportPlace, session: Session): Promise<void> {
  await sendArchive(session, parts.trees.pack(root, '/', '.', { signal }), signal);
}

async function sendDirectory(root: string, { parts, signal }: ExportPlace, session: Session): Promise<void> {
  await sendResult(session, parts.trees, root, signal);
}

async function sendArchive(
  session: Session,
  archive: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const pieces = (async function* pieces() {
    for await (const data of archive) yield { data };
  })();
  // the client ends its side when it has everything
  for await (const _reply of session.client(FileSend).diffCopy(pieces, { signal }));
}
