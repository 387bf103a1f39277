/** Which build a call belongs to. */
import { Code, ConnectError, type HandlerContext } from '@connectrpc/connect';

/** The id of the build that a call names. @throws {ConnectError} `InvalidArgument` */
export function buildIdOf({ requestHeader }: HandlerContext): string {
  const id = requestHeader.get('buildkit-controlapi-buildid');
  if (id === null) throw new ConnectError('the call names no build', Code.InvalidArgument);
  return id;
}
