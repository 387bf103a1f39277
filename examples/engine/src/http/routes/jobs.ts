/** `/jobs`: the engine's own end-points, beyond Docker's API. */
import type { JobQueue } from '../../jobs/job-queue.ts';
import type { JobRecord } from '../../jobs/job.ts';
import { formatTime } from '../../time.ts';
import type { Route } from '../route.ts';

/** List, inspect and cancel Jobs. */
export function jobRoutes(jobs: JobQueue): Route[] {
  return [
    {
      method: 'GET',
      path: '/jobs',
      handler: (context) => {
        const all = context.query.bool('all');
        const records = jobs.list().filter((job) => all || job.state === 'running');
        context.json(200, records.map(renderJob));
      },
    },
    {
      method: 'GET',
      path: '/jobs/:id',
      handler: (context) => context.json(200, renderJob(jobs.get(context.param('id')))),
    },
    {
      // not a Job itself: it would wait for its own end when it cancels everything
      method: 'DELETE',
      path: '/jobs/:id',
      handler: async (context) => context.json(200, renderJob(await jobs.cancel(context.param('id')))),
    },
  ];
}

function renderJob(job: JobRecord): unknown {
  return {
    Id: job.id,
    Kind: job.kind,
    Subject: job.subject ?? '',
    State: job.state,
    Progress: job.progress
      ? {
          Message: job.progress.message ?? '',
          Current: job.progress.current ?? 0,
          Total: job.progress.total ?? 0,
        }
      : null,
    ParentId: job.parentId ?? '',
    StartedAt: formatTime(job.startedAt),
    FinishedAt: formatTime(job.finishedAt),
    DurationMs: (job.finishedAt ?? new Date()).getTime() - job.startedAt.getTime(),
    Error: job.error ?? '',
  };
}
