/**
 * Builds for which a client has only to say that nothing has changed: its files are here, and the result of every step is
 * known. That takes one request, and no session. Our own addition; whoever does not know it builds in the ordinary way.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';

import { treeFiles } from '../builder/context.ts';
import { quietParts, type BuildParts } from '../builder/in-engine/parts.ts';
import { asStep, transfer } from '../builder/output.ts';
import type { BuildRequest, ContextFiles } from '../builder/request.ts';
import type { SolverParts } from '../builder/seams.ts';
import { solve } from '../builder/solve.ts';
import { ignoreRules } from '../ignore-file.ts';
import { warnOfUnusedArgs } from './builds.ts';
import { keptKey, newDirectory } from './client-files.ts';
import { exportResult } from './exporters.ts';
import { platformsOf, requestOptions } from './frontend.ts';
import type { StatusResponse } from './gen/control_pb.ts';
import { Progress } from './progress.ts';

/** What a client asks for. */
export const unchangedSchema = z.object({
  /** Its name for the directory it builds from. */
  place: z.string().min(1),
  /** Digest of what is in that now. */
  listing: z.string(),
  dockerfile: z.string(),
  /** Patterns of what the directory ignores. */
  ignore: z.array(z.string()),
  /** Of the image, separated by commas. */
  names: z.string(),
  /** Options of the frontend. */
  options: z.record(z.string(), z.string()),
});

/** What the client learns. */
export interface UnchangedBuild {
  /** Everything that is told of the build. Numbers for large integers, base64 for bytes. */
  status: unknown;
  /** What the exporter says. */
  response: Record<string, string>;
}

/** @returns undefined when there is more to do than to look: the ordinary way does that, and tells what is wrong */
export async function buildUnchanged(
  parts: BuildParts,
  { place, listing, dockerfile, ignore, names, options }: z.infer<typeof unchangedSchema>,
  signal: AbortSignal,
): Promise<UnchangedBuild | undefined> {
  await using held = new AsyncDisposableStack();
  const takeFiles = async (): Promise<ContextFiles> => {
    const key = keptKey(place, 'context');
    const kept = parts.cache.files.get(key);
    if (kept === undefined || kept.tree.listing !== listing) throw new NotKnown();
    held.use(kept.spool.hold());
    parts.cache.files.keep(key, kept.tree, kept.spool);
    return held.use(treeFiles(kept.tree, { directory: newDirectory(parts), trees: parts.trees, signal }));
  };
  let files: Promise<ContextFiles> | undefined;
  const progress = new Progress(randomBytes(16).toString('hex'));
  const load = transfer('take load build context context', '[internal] load build context');
  const request: BuildRequest = {
    ...requestOptions(options),
    platform: platformsOf(options)[0],
    dockerfile,
    context: () => (files ??= asStep(progress, load, takeFiles)),
    ignores: () => Promise.resolve(ignoreRules(ignore).ignores),
    auth: () => Promise.resolve(undefined),
  };
  try {
    const id = `unchanged ${randomBytes(8).toString('hex')}`;
    const solved = held.use(await solve(lookingOnly(parts), request, { output: progress, id, signal }));
    warnOfUnusedArgs(progress, solved.unusedArgs);
    const session = (): Promise<never> => Promise.reject(new NotKnown());
    const exported = { results: [solved], byPlatform: false };
    const moby = { type: 'moby', attrs: { name: names } };
    const place = { parts, session, output: progress, signal };
    // the only part of it that changes anything
    const response = await parts.jobs.run('image.build', () => exportResult(moby, exported, place), {
      signal,
      subject: names,
    });
    progress.end();
    for await (const status of progress.follow(signal)) return { status: plain(status), response };
  } catch {
    signal.throwIfAborted();
    // whatever it was, the ordinary way comes to it again
  }
  return undefined;
}

/** Something has to be done. */
class NotKnown extends Error {}

/** The engine's parts, without those that do anything. */
function lookingOnly(parts: BuildParts): SolverParts {
  const refuse = (): Promise<never> => Promise.reject(new NotKnown());
  const { layers, bases, ...quiet } = quietParts(parts);
  return {
    ...quiet,
    // what is known may have to be unpacked again
    layers: { ...layers, commitArchive: refuse, importLayer: refuse },
    bases: { ...bases, find: (reference, options) => bases.find(reference, { ...options, pull: 'never' }) },
    executor: { run: refuse },
  };
}

function plain(status: StatusResponse): unknown {
  // what a buffer says of itself as JSON comes before
  function replaced(this: Record<string, unknown>, key: string, value: unknown): unknown {
    const own = this[key];
    if (own instanceof Uint8Array) return Buffer.from(own).toString('base64');
    return typeof value === 'bigint' ? Number(value) : value;
  }
  return JSON.parse(JSON.stringify(status, replaced));
}
