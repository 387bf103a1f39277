/**
 * Traces of the engine's work by the standard API of OpenTelemetry: a span for each Job, its steps below it. Without an
 * SDK that somebody has registered (`node --import`), it costs next to nothing.
 */
import { SpanStatusCode, trace } from '@opentelemetry/api';

import type { Job } from '../jobs/job.ts';
import { messageOf } from '../errors.ts';

/** Runs the work of a Job within a span; what else is traced in it goes below. */
export function traced<T>(job: Job, work: () => Promise<T>): Promise<T> {
  return trace.getTracer('tare').startActiveSpan(job.kind, async (span) => {
    try {
      return await work();
    } catch (error) {
      span.recordException(error instanceof Error ? error : messageOf(error));
      span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
      throw error;
    } finally {
      const { id, subject, state } = job.record();
      span.setAttributes({
        'tare.job.id': id,
        'tare.job.state': state,
        ...(subject === undefined ? {} : { 'tare.job.subject': subject }),
      });
      span.end();
    }
  });
}
