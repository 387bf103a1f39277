/** Jobs, the engine's pieces of work, over time: children below those that asked for them. */
import { clock, duration, short } from './format.ts';
import { useApi } from './hooks.ts';
import type { Job } from './types.ts';

const MOST_JOBS = 100;

/** The last jobs, newest first, each with those that it asked for below it in their order. */
function inFamilies(jobs: readonly Job[]): (Job & { depth: number })[] {
  const byParent = Map.groupBy(
    jobs.toSorted((a, b) => Date.parse(a.StartedAt) - Date.parse(b.StartedAt)),
    ({ ParentId }) => ParentId,
  );
  const ids = new Set(jobs.map(({ Id }) => Id));
  const family = (job: Job, depth: number): (Job & { depth: number })[] => [
    { ...job, depth },
    ...(byParent.get(job.Id) ?? []).flatMap((child) => family(child, depth + 1)),
  ];
  return jobs
    .filter(({ ParentId }) => !ParentId || !ids.has(ParentId))
    .toSorted((a, b) => Date.parse(b.StartedAt) - Date.parse(a.StartedAt))
    .flatMap((job) => family(job, 0));
}

/** The last hundred. */
export function Jobs({ version }: { version: number }) {
  const { value, error } = useApi<Job[]>('/jobs?all=1', version, 1000);
  if (error) return <p class="error">{error}</p>;
  const jobs = inFamilies(value ?? []).slice(0, MOST_JOBS);
  if (jobs.length === 0) return <p class="none">No Jobs yet.</p>;
  const begin = Math.min(...jobs.map(({ StartedAt }) => Date.parse(StartedAt)));
  const end = Math.max(...jobs.map((job) => Date.parse(job.StartedAt) + job.DurationMs), begin + 1);
  const part = (ms: number): string => `${((ms / (end - begin)) * 100).toFixed(2)}%`;
  return (
    <div class="timeline">
      <p class="dim">
        {clock(new Date(begin))} – {clock(new Date(end))}
      </p>
      {jobs.map((job) => (
        <div key={job.Id} class="job" title={job.Error || job.Progress?.Message || job.State}>
          <span class="kind">
            <span style={{ paddingLeft: `${job.depth * 16}px` }}>
              {job.depth > 0 && '↳ '}
              {job.Kind}
            </span>{' '}
            <span class="dim">{/^[0-9a-f]{64}$/.test(job.Subject) ? short(job.Subject) : job.Subject}</span>
          </span>
          <span class="track">
            <span
              class={`bar ${job.State}`}
              style={{
                left: part(Date.parse(job.StartedAt) - begin),
                width: `max(3px, ${part(job.DurationMs)})`,
              }}
            />
          </span>
          <span class="number">{duration(job.DurationMs)}</span>
          <span class={`state ${job.State}`}>{job.State}</span>
        </div>
      ))}
    </div>
  );
}
