/** The reply of long work on images: a stream of progress messages, which its Job reports too. */
import type { RequestContext } from './context.ts';
import { encodeProgress, type ProgressMessage } from './streams.ts';

/**
 * Replies with the messages of `work` as they come. The first one decides the status: what fails before it is an
 * ordinary error reply, what fails later is the stream's last message.
 */
export async function replyWithProgress(
  context: RequestContext,
  work: (onMessage: (message: ProgressMessage) => void) => Promise<void>,
): Promise<void> {
  let reply: ReturnType<RequestContext['stream']> | undefined;
  await work((message) => {
    reply ??= context.stream();
    void reply.write(encodeProgress(message));
    const { id, status, stream, progressDetail } = message;
    const text = status ?? stream?.trimEnd();
    if (text !== undefined) {
      context.job.report({ message: id === undefined ? text : `${id}: ${text}`, ...progressDetail });
    }
  });
  (reply ?? context.stream()).end();
}
