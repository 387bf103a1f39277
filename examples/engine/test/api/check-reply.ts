/** Holds one reply of the engine against the schemas of `src/api`. */
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import { REPLIES } from '../../src/api/replies.ts';
import { errorReply } from '../../src/api/system.ts';
import { API_VERSION, splitVersion } from '../../src/http/api-version.ts';
import { parseJson } from '../../src/http/json.ts';
import { Router } from '../../src/http/router.ts';
import { allRoutes } from '../all-routes.ts';
import { missesOf, PUBLISHED_VERSIONS } from './published.ts';

/** A request and its reply. */
export interface Exchange {
  method: string;
  /** Path with version, and query. */
  target: string;
  status: number;
  headers: ReadonlyMap<string, string>;
  body: Buffer;
}

const router = new Router(allRoutes);

/** Whether anything is wrong, in one text; `route` is set when the reply was held against a schema of its own. */
export function checkReply(exchange: Exchange): { route?: string; problem?: string } {
  const { method, target, status, headers, body } = exchange;
  const what = `${method} ${target} → ${status}`;
  const type = headers.get('content-type');
  if (status >= 400) {
    if (method === 'HEAD') return {};
    // Go's client compares the whole header
    if (type !== 'application/json') return { problem: `${what}: content type ${type}` };
    return problemOf(what, errorReply, body.toString());
  }
  let path: string;
  let version: string;
  try {
    ({ path, version } = splitVersion(target.split('?')[0]!));
  } catch {
    return { problem: `${what}: a version out of range was served` };
  }
  const found = router.find(method, path);
  if (!found) return { problem: `${what}: no such route` };
  const route = `${found.route.method} ${found.route.path}`;
  const reply = REPLIES[route];
  if (!reply) return { problem: `${what}: no schema` };
  if (reply.kind === 'none' || status === 204 || status === 304 || status === 101) return {};
  if (type !== 'application/json') return { problem: `${what}: content type ${type}` };
  const text = (headers.get('content-encoding') === 'gzip' ? gunzipSync(body) : body).toString();
  const documents = reply.kind === 'json' ? [text] : text.split('\n').filter((item) => item.trim() !== '');
  for (const document of documents) {
    const { problem } =
      version === API_VERSION
        ? problemOf(what, reply.schema, document)
        : missedBy(what, version, route, document);
    if (problem !== undefined) return { route, problem };
  }
  return { route };
}

/** A client of an older version finds all that was published for it. */
function missedBy(what: string, version: string, route: string, text: string): { problem?: string } {
  const type = PUBLISHED_TYPES[route];
  if (type === undefined || !PUBLISHED_VERSIONS.includes(version)) return {};
  const misses = missesOf(version, type, parseJson(text));
  return misses.length > 0 ? { problem: `${what}: ${misses.join('; ')}` } : {};
}

/** Replies as the lists of published fields name them. */
const PUBLISHED_TYPES: Readonly<Record<string, string>> = {
  'GET /containers/json': '[containerSummary]',
  'GET /containers/:id/json': 'containerInspect',
  'GET /containers/:id/top': 'containerTop',
  'GET /containers/:id/changes': '[filesystemChange]|null',
  'POST /containers/create': 'containerCreated',
  'POST /containers/prune': 'containersPruned',
  'POST /containers/:id/wait': 'waitResult',
  'GET /images/json': '[imageSummary]',
  'GET /images/:name*/json': 'imageInspect',
  'GET /images/:name*/history': '[imageHistoryItem]',
  'DELETE /images/:name*': '[imageDeleted]',
  'POST /images/prune': 'imagesPruned',
  'GET /networks': '[networkInspect]',
  'GET /networks/:id': 'networkInspect',
  'POST /networks/create': 'networkCreated',
  'POST /networks/prune': 'networksPruned',
  'GET /volumes': 'volumeList',
  'GET /volumes/:name': 'volume',
  'POST /volumes/create': 'volume',
  'POST /volumes/prune': 'volumesPruned',
  'GET /info': 'systemInfo',
  'GET /version': 'systemVersion',
  'GET /system/df': 'diskUsage',
  'GET /events': 'event',
};

function problemOf(what: string, schema: z.ZodType, text: string): { problem?: string } {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    return { problem: `${what}: ${(error as Error).message}: ${text.slice(0, 200)}` };
  }
  const result = schema.safeParse(value);
  if (result.success) return {};
  const issues = result.error.issues.map(
    ({ path, message }) => `${path.map(String).join('.') || '(the reply)'}: ${message}`,
  );
  return { problem: `${what}: ${issues.join('; ')}` };
}
