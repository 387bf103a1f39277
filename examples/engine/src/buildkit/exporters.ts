/** What becomes of a build's result: an image here or at a registry, or files at the client. */
import { Code, ConnectError } from '@connectrpc/connect';
import {
  formatPlatform,
  platformOfProcess,
  platformRank,
  withDefaultTag,
  type Digest,
  type Reference,
} from '@tare/image-spec';
import { writeImageArchive } from '@tare/layer-store/archive';

import { documentSource, oneManifest } from '../builder/documents.ts';
import { compressedImage, compressedIndex, pushDocuments, pushImage } from '../builder/in-engine/push.ts';
import { buildLayers, saveImage, type BuildParts } from '../builder/in-engine/parts.ts';
import { asStep, transfer, type BuildOutput } from '../builder/output.ts';
import type { Solved } from '../builder/solve.ts';
import { withStageRoot } from '../builder/state.ts';
import { canonicalTag, parseTagParameters } from '../images/names.ts';
import type { TreePart } from '../containers/trees.ts';
import { imageDocuments } from '../images/create.ts';
import type { MakeIndex } from '../images/indexes.ts';
import { sendResult } from './file-sync.ts';
import { resultFiles } from './result-files.ts';
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

/** What is exported: one result, or one for each platform. */
export interface Exported {
  results: readonly Solved[];
  /** Whether it becomes an index of images, even if there is only one. */
  byPlatform: boolean;
}

/** Does one export. @returns what the client learns of it */
export async function exportResult(
  { type, attrs }: Pick<Exporter, 'type' | 'attrs'>,
  exported: Exported,
  place: ExportPlace,
): Promise<Record<string, string>> {
  const { output } = place;
  const step = (name: string) => transfer(`export ${name}`, name);
  refuseUnknown(type, attrs);
  switch (type) {
    case 'moby':
    case 'image':
      return asStep(output, step('exporting to image'), () => toImage(attrs, exported, place));
    case 'docker':
    case 'oci':
      if (type === 'docker' && exported.byPlatform) {
        throw new ConnectError(
          'an archive of type docker is one image: type=oci takes those of several platforms',
          Code.InvalidArgument,
        );
      }
      return asStep(output, step(`exporting to ${type} image format`), () =>
        toArchive(attrs, exported, place),
      );
    case 'tar':
      await asStep(output, step('sending tarball'), () => sendTree(attrs, exported, place));
      return {};
    case 'local':
      await asStep(output, step('copying files'), () => sendDirectory(attrs, exported, place));
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
  exported: Exported,
  { parts, session, output, signal }: ExportPlace,
): Promise<Record<string, string>> {
  const names = namesOf(attrs);
  const auth = async (registry: string) => credentials(await session(), registry);
  const pushed = attrs['push'] === 'true' ? names : [];
  const named: Record<string, string> = names.length > 0 ? { 'image.name': attrs['name']! } : {};
  if (!exported.byPlatform) {
    const [solved] = exported.results as [Solved];
    const id = await saveImage(parts, solved, names, signal);
    for (const name of names) parts.indexes.forget(canonicalTag(withDefaultTag(name)));
    for (const name of pushed) await pushImage(parts, solved, name, { auth, signal });
    return { ...identity(id), ...named };
  }
  // a name here means one image: that of this machine, if there is one
  const own = ownResult(exported) ?? exported.results[0]!;
  const id = await saveImage(parts, own, names, signal);
  rememberIndex(names, id, exported, parts);
  if (pushed.length > 0) {
    const index = await compressedIndex(parts, exported.results, signal);
    for (const name of pushed) await pushDocuments(parts, name, index, { auth, signal });
    return { 'containerimage.digest': index.root.digest, ...named };
  }
  if (exported.results.length > 1) {
    output.warn(
      `here a name is one image, now that of ${formatPlatform(own.state.platform)}: ` +
        'a push takes all platforms until the engine is started again, --output type=oci has all of them',
    );
  }
  return { ...identity(id), ...named };
}

/** Clients may push the names themselves. */
function rememberIndex(
  names: readonly Reference[],
  id: Digest,
  { results }: Exported,
  parts: BuildParts,
): void {
  const { images, indexes } = parts;
  const digests = results.flatMap(({ state }) => state.layers.map(({ descriptor }) => descriptor.digest));
  const make: MakeIndex = async (signal) => {
    const index = await compressedIndex(parts, results, signal);
    return { root: index.root, source: await documentSource(images.content, index, signal) };
  };
  for (const name of names) {
    indexes.remember(canonicalTag(withDefaultTag(name)), id, make, images.leases.hold(digests));
  }
}

/** The result that runs on this machine. */
function ownResult({ results }: Exported): Solved | undefined {
  const own = platformOfProcess(process);
  const ranked = results.map((solved) => ({ solved, rank: platformRank(own, solved.state.platform) }));
  const [best] = ranked.filter(({ rank }) => rank !== Infinity).sort((a, b) => a.rank - b.rank);
  return best?.solved;
}

function identity(id: Digest): Record<string, string> {
  return { 'containerimage.digest': id, 'containerimage.config.digest': id };
}

/** An archive that is an OCI layout and what `docker load` reads, at once. */
async function toArchive(
  attrs: Attributes,
  exported: Exported,
  { parts, session, signal }: ExportPlace,
): Promise<Record<string, string>> {
  const { documents, digests } = exported.byPlatform
    ? await indexToSend(parts, exported, signal)
    : await imageToSend(parts, exported, signal);
  const names = namesOf(attrs).map((name) => canonicalTag(withDefaultTag(name)));
  const source = await documentSource(parts.images.content, documents, signal);
  const archive = writeImageArchive(source, [{ descriptor: documents.root, names }], {
    platform: platformOfProcess(process),
    signal,
  });
  await sendArchive(await session(), archive, signal);
  return digests;
}

async function indexToSend(parts: BuildParts, { results }: Exported, signal: AbortSignal) {
  const documents = await compressedIndex(parts, results, signal);
  return { documents, digests: { 'containerimage.digest': documents.root.digest } };
}

async function imageToSend(parts: BuildParts, { results }: Exported, signal: AbortSignal) {
  const image = await compressedImage(parts, results[0]!, signal);
  const { config, manifest } = await imageDocuments(image);
  return {
    documents: oneManifest({ config, manifest, layers: image.layers }),
    digests: identity(config.descriptor.digest),
  };
}

/** A directory for each result, when there are several and nobody wants them in one. */
function placesOf(attrs: Attributes, { results, byPlatform }: Exported): { solved: Solved; name: string }[] {
  const split = attrs['platform-split'] === undefined ? byPlatform : attrs['platform-split'] === 'true';
  return results.map((solved) => ({
    solved,
    name: split ? formatPlatform(solved.state.platform).replaceAll('/', '_') : '',
  }));
}

/** Runs `work` with paths that lead into the file systems of results. */
async function withRoots(
  places: readonly { solved: Solved; name: string }[],
  parts: BuildParts,
  work: (roots: readonly { root: string; name: string }[]) => Promise<void>,
  opened: readonly { root: string; name: string }[] = [],
): Promise<void> {
  const [next, ...rest] = places;
  if (next === undefined) return work(opened);
  const { solved, name } = next;
  const rootParts = { layers: buildLayers(parts), trees: parts.trees };
  await withStageRoot(rootParts, solved.state.chain.at(-1), (root) =>
    withRoots(rest, parts, work, [...opened, { root, name }]),
  );
}

async function sendTree(
  attrs: Attributes,
  exported: Exported,
  { parts, session, signal }: ExportPlace,
): Promise<void> {
  const { trees } = parts;
  const open = await session();
  await withRoots(placesOf(attrs, exported), parts, (roots) => {
    const [only, ...more] = roots;
    if (only !== undefined && more.length === 0 && only.name === '') {
      return sendArchive(open, trees.pack(only.root, '/', '.', { signal }), signal);
    }
    const members = roots.flatMap(({ root, name }): TreePart[] => [
      ...(name === '' ? [] : [{ kind: 'directory', name } as const]),
      { kind: 'tree', root, path: '/', name },
    ]);
    return sendArchive(open, trees.layer(members, signal), signal);
  });
}

async function sendDirectory(
  attrs: Attributes,
  exported: Exported,
  { parts, session, signal }: ExportPlace,
): Promise<void> {
  const open = await session();
  await withRoots(placesOf(attrs, exported), parts, (roots) =>
    sendResult(open, resultFiles(parts.trees, roots), signal),
  );
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
