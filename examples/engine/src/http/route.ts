/** What one end-point is: method, path, handler, and how its work is run. */
import type { RequestContext } from './context.ts';

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS';

/** One end-point. Resources export arrays of these; `http/router.ts` finds the one for a request. */
export interface Route {
  method: HttpMethod;
  /**
   * Path without the version prefix. `:id` matches one segment; `:name*` matches one or more, which is for image names,
   * whose slashes arrive raw or as `%2F`. Literal paths win over parameters.
   */
  path: string;
  /** Replies through the context. What it throws becomes the error reply. */
  handler(context: RequestContext): Promise<void> | void;
  /**
   * The kind of Job the handler runs as, for example `'container.create'`. Every route that changes something has one;
   * the others leave it out.
   */
  job?: string;
  /** The client going away cancels the Job. Default false: `docker stop` goes on when its client is gone. */
  cancelOnDisconnect?: boolean;
  /** The handler may call `hijack()`; requests with an `Upgrade` header reach it with their socket. Default false. */
  hijack?: boolean;
}
