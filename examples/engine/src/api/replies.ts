/** Which schema each end-point's reply has at the newest version of the API. */
import { z } from 'zod';
import * as container from './container.ts';
import * as image from './image.ts';
import * as network from './network.ts';
import { containerStats } from './stats.ts';
import * as system from './system.ts';
import * as volume from './volume.ts';

/** How a reply is to be read. */
export interface ReplySchema {
  /** `json` is one document, `lines` one after the other; `none` is no JSON at all. */
  kind: 'json' | 'lines' | 'none';
  schema: z.ZodType;
}

const json = (schema: z.ZodType): ReplySchema => ({ kind: 'json', schema });
const lines = (schema: z.ZodType): ReplySchema => ({ kind: 'lines', schema });
const none: ReplySchema = { kind: 'none', schema: z.never() };

/**
 * Method and path, as `Route` has them, to what comes with a status of success. Every end-point is here; a failure is
 * always `errorReply`.
 */
export const REPLIES: Readonly<Record<string, ReplySchema>> = {
  'OPTIONS /*': none,
  'GET /_ping': none,
  'HEAD /_ping': none,
  'GET /version': json(system.systemVersion),
  'GET /info': json(system.systemInfo),
  'POST /auth': json(system.authenticated),
  'GET /system/df': json(system.diskUsage),
  'GET /events': lines(system.event),
  'GET /plugins': json(z.array(z.never())),
  'GET /metrics': none,
  'GET /jobs': json(z.array(system.job)),
  'GET /jobs/:id': json(system.job),
  'DELETE /jobs/:id': json(system.job),

  'GET /containers/json': json(z.array(container.containerSummary)),
  'POST /containers/create': json(container.containerCreated),
  'POST /containers/prune': json(container.containersPruned),
  'GET /containers/:id/json': json(container.containerInspect),
  'GET /containers/:id/top': json(container.containerTop),
  'GET /containers/:id/logs': none,
  'GET /containers/:id/stats': lines(containerStats),
  'GET /containers/:id/changes': json(z.array(container.filesystemChange).nullable()),
  'GET /containers/:id/export': none,
  'HEAD /containers/:id/archive': none,
  'GET /containers/:id/archive': none,
  'PUT /containers/:id/archive': none,
  'POST /containers/:id/attach': none,
  'GET /containers/:id/attach/ws': none,
  'POST /containers/:id/wait': lines(container.waitResult),
  'POST /containers/:id/resize': none,
  'POST /containers/:id/start': none,
  'POST /containers/:id/stop': none,
  'POST /containers/:id/restart': none,
  'POST /containers/:id/kill': none,
  'POST /containers/:id/pause': none,
  'POST /containers/:id/unpause': none,
  'POST /containers/:id/rename': none,
  'POST /containers/:id/update': json(container.containerUpdated),
  'DELETE /containers/:id': none,
  'DELETE /containers/:id/:alias': none,
  'POST /containers/:id/exec': json(system.idReply),
  'POST /exec/:id/start': none,
  'POST /exec/:id/resize': none,
  'GET /exec/:id/json': json(container.execInspect),
  'POST /commit': json(system.idReply),

  'GET /images/json': json(z.array(image.imageSummary)),
  'GET /images/search': json(z.array(system.searchResult)),
  'GET /images/get': none,
  'GET /images/:name*/get': none,
  'GET /images/:name*/json': json(image.imageInspect),
  'GET /images/:name*/history': json(z.array(image.imageHistoryItem)),
  'POST /images/create': lines(system.progressMessage),
  'POST /images/load': lines(system.progressMessage),
  'POST /images/prune': json(image.imagesPruned),
  'POST /images/:name*/push': lines(system.progressMessage),
  'POST /images/:name*/tag': none,
  'DELETE /images/:name*': json(z.array(image.imageDeleted)),
  'GET /distribution/:name*/json': json(system.distributionInspect),
  'POST /build': lines(system.progressMessage),
  'POST /build/unchanged': json(system.unchangedBuild),
  'POST /build/cancel': none,
  'POST /build/prune': json(system.buildCachePruned),
  'POST /session': none,
  'POST /grpc': none,

  'GET /networks': json(z.array(network.networkInspect)),
  'GET /networks/': json(z.array(network.networkInspect)),
  'GET /networks/:id': json(network.networkInspect),
  'DELETE /networks/:id': none,
  'POST /networks/create': json(network.networkCreated),
  'POST /networks/:id/connect': none,
  'POST /networks/:id/disconnect': none,
  'POST /networks/prune': json(network.networksPruned),

  'GET /volumes': json(volume.volumeList),
  'GET /volumes/:name': json(volume.volume),
  'DELETE /volumes/:name': none,
  'POST /volumes/create': json(volume.volume),
  'POST /volumes/prune': json(volume.volumesPruned),
};
