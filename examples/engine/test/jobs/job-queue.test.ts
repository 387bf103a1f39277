import { describe, expect, it } from 'vitest';
import { conflict } from '../../src/errors.ts';
import { JobQueue } from '../../src/jobs/job-queue.ts';

describe('JobQueue', () => {
  it('passes the result on and remembers the job', async () => {
    await using jobs = new JobQueue();
    expect(await jobs.run('image.pull', () => 42, { subject: 'busybox' })).toBe(42);
    const [record] = jobs.list();
    expect(record).toMatchObject({
      kind: 'image.pull',
      subject: 'busybox',
      state: 'succeeded',
      error: undefined,
    });
    expect(record!.finishedAt).toBeInstanceOf(Date);
  });

  it('lists a job before its steps, also when they start in the same millisecond and end first', async () => {
    await using jobs = new JobQueue();
    for (let i = 0; i < 20; i++) {
      await jobs.run('pull', (job) => jobs.run('pull.step', () => {}, { parent: job }));
    }
    const kinds = jobs.list().map(({ kind }) => kind);
    expect(kinds).toEqual(kinds.map((_, at) => (at % 2 === 0 ? 'pull' : 'pull.step')));
  });

  it('undoes in reverse order when a job fails, and ends always', async () => {
    await using jobs = new JobQueue();
    const done: string[] = [];
    const failing = jobs.run('x', (job) => {
      job.onFailure(() => void done.push('undo 1'));
      job.onEnd(() => void done.push('end'));
      job.onFailure(() => void done.push('undo 2'));
      throw conflict('no');
    });
    await expect(failing).rejects.toMatchObject({ code: 'CONFLICT', message: 'no' });
    expect(done).toEqual(['undo 2', 'end', 'undo 1']);
    done.length = 0;
    await jobs.run('x', (job) => {
      job.onFailure(() => void done.push('undo'));
      job.onEnd(() => void done.push('end'));
    });
    expect(done).toEqual(['end']);
  });

  it('runs every cleanup even when one of them fails, and says so', async () => {
    await using jobs = new JobQueue();
    let ran = 0;
    const failing = jobs.run('x', (job) => {
      job.onEnd(() => void (ran += 1));
      job.onEnd(() => {
        throw new Error('stuck');
      });
    });
    await expect(failing).rejects.toThrow('cleanup failed: stuck');
    expect(ran).toBe(1);
    expect(jobs.list()[0]).toMatchObject({ state: 'failed', error: 'cleanup failed: stuck' });
  });

  it('cancels a job and waits for its cleanup', async () => {
    await using jobs = new JobQueue();
    let cleaned = false;
    const running = jobs.run('x', (job) => {
      job.onEnd(() => void (cleaned = true));
      return new Promise((_resolve, reject) => {
        job.signal.addEventListener('abort', () => reject(job.signal.reason as Error));
      });
    });
    const failure = expect(running).rejects.toMatchObject({ code: 'CANCELLED' });
    const record = await jobs.cancel(jobs.list()[0]!.id.slice(0, 8));
    expect(record.state).toBe('cancelled');
    expect(cleaned).toBe(true);
    await failure;
    await expect(jobs.cancel(record.id)).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(() => jobs.get('nope')).toThrow('No such job: nope');
  });

  it('cancels children with their parent', async () => {
    await using jobs = new JobQueue();
    const childStarted = Promise.withResolvers<void>();
    const parent = jobs.run('parent', (job) =>
      jobs.run(
        'child',
        (child) =>
          new Promise((_resolve, reject) => {
            child.signal.addEventListener('abort', () => reject(child.signal.reason as Error));
            childStarted.resolve();
          }),
        { parent: job },
      ),
    );
    const failure = expect(parent).rejects.toMatchObject({ code: 'CANCELLED' });
    await childStarted.promise;
    const [first, second] = jobs.list();
    expect(second!.parentId).toBe(first!.id);
    await jobs.cancel(first!.id);
    await failure;
    expect(jobs.list().map((job) => job.state)).toEqual(['cancelled', 'cancelled']);
  });

  it('does not start a job whose client is gone already', async () => {
    await using jobs = new JobQueue();
    let ran = false;
    const late = jobs.run('x', () => void (ran = true), { signal: AbortSignal.abort(new Error('gone')) });
    await expect(late).rejects.toThrow('gone');
    expect(ran).toBe(false);
  });

  it('refuses new jobs once it is closed, and remembers only the last ones', async () => {
    const jobs = new JobQueue();
    for (let i = 0; i < 1100; i += 1) await jobs.run('x', () => undefined, { subject: String(i) });
    expect(jobs.list()).toHaveLength(1024);
    expect(jobs.list().at(-1)?.subject).toBe('1099');
    await jobs[Symbol.asyncDispose]();
    await expect(jobs.run('x', () => undefined)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});
