/**
 * What errors carry beside their message, as BuildKit's clients read it: JSON under a type of `github.com/moby/buildkit`.
 * Connect names every type under `type.googleapis.com`, so the names are put right on the way out.
 *
 * https://github.com/moby/buildkit: solver/errdefs, util/grpcerrors.
 */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { encodeBinaryHeader } from '@connectrpc/connect';
import type { Http2ServerResponse } from 'node:http2';

import type { Place } from '../builder/dockerfile/errors.ts';
import { lastLineOf } from '../builder/dockerfile/excerpt.ts';
import { StatusSchema } from './gen/gateway_pb.ts';

const HEADER = 'grpc-status-details-bin';

/** Where in a file an error is: clients show its lines. */
export function sourceDetail(
  place: Place,
  { name, text }: { name: string; text: string },
): { type: string; value: Uint8Array<ArrayBuffer> } {
  const value = {
    info: { filename: name, data: Buffer.from(text).toString('base64'), language: 'Dockerfile' },
    ranges: [{ start: { line: place.line }, end: { line: lastLineOf(place) } }],
  };
  return { type: 'errdefs.Source+json', value: Uint8Array.from(Buffer.from(JSON.stringify(value))) };
}

/** Names the types of details in the trailers of a response as BuildKit does. */
export function nameDetails(response: Http2ServerResponse): void {
  const add = response.addTrailers.bind(response);
  response.addTrailers = (trailers) => {
    const encoded = trailers[HEADER];
    if (typeof encoded !== 'string') return add(trailers);
    const status = fromBinary(StatusSchema, Buffer.from(encoded, 'base64'));
    for (const detail of status.details) {
      if (!detail.typeUrl.endsWith('+json')) continue;
      detail.typeUrl = detail.typeUrl.replace('type.googleapis.com/', 'github.com/moby/buildkit/');
    }
    add({ ...trailers, [HEADER]: encodeBinaryHeader(toBinary(StatusSchema, status)) });
  };
}
