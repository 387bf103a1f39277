/** The order of operations, and taking back what was done. */

import { describe, expect, it } from 'vitest';

import { Gathering, OperationOrder, Rollback, settleAll } from '../src/operation-order.ts';

describe('operations', () => {
  it('on one thing run one after another, on different things side by side', async () => {
    const order = new OperationOrder();
    const log: string[] = [];
    const gate = Promise.withResolvers<void>();
    const slow = order.run('a', async () => {
      await gate.promise;
      log.push('a1');
    });
    const after = order.run('a', async () => log.push('a2'));
    await order.run('b', async () => log.push('b'));
    gate.resolve();
    await Promise.all([slow, after]);
    expect(log).toEqual(['b', 'a1', 'a2']);
  });

  it('on everything wait for all before them and hold up all after', async () => {
    const order = new OperationOrder();
    const log: string[] = [];
    const gate = Promise.withResolvers<void>();
    const before = order.run('a', async () => {
      await gate.promise;
      log.push('before');
    });
    const all = order.exclusively(async () => log.push('all'));
    const after = order.run('b', async () => log.push('after'));
    gate.resolve();
    await Promise.all([before, all, after]);
    expect(log).toEqual(['before', 'all', 'after']);
  });

  it('that fail do not hold up the next', async () => {
    const order = new OperationOrder();
    const failed = order.run('a', () => Promise.reject(new Error('no')));
    const next = order.run('a', async () => 'yes');
    await expect(failed).rejects.toThrow('no');
    expect(await next).toBe('yes');
    await expect(order.exclusively(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await order.run('a', async () => 'yes')).toBe('yes');
  });

  it('are taken back newest first, and all of them though one fails', async () => {
    const rollback = new Rollback();
    const log: number[] = [];
    rollback.defer(() => void log.push(1));
    rollback.defer(() => {
      throw new Error('stuck');
    });
    rollback.defer(async () => void log.push(3));
    const cause = new Error('why');
    const error = (await rollback.run(cause)) as AggregateError;
    expect(log).toEqual([3, 1]);
    expect(error.cause).toBe(cause);
    expect(error.errors.map(String)).toEqual(['Error: why', 'Error: stuck']);
    expect(await new Rollback().run(cause)).toBe(cause);
  });

  it('are gathered while a turn is under way, and done together in the next', async () => {
    const turns: string[][] = [];
    const gate = Promise.withResolvers<void>();
    const gathering = new Gathering<string>(async (items) => {
      turns.push(items);
      if (items.includes('bad')) throw new Error('bad');
      if (turns.length === 1) await gate.promise;
    });
    const first = gathering.add(['a']);
    await Promise.resolve();
    const later = [gathering.add(['b', 'c']), gathering.add(['bad']), gathering.add([])];
    gate.resolve();
    await first;
    expect(await Promise.allSettled(later)).toMatchObject(
      later.map(() => ({ status: 'rejected', reason: { message: 'bad' } })),
    );
    await gathering.add(['d']);
    expect(turns).toEqual([['a'], ['b', 'c', 'bad'], ['d']]);
  });

  it('that run together are all waited for, and fail with what failed', async () => {
    const log: string[] = [];
    const slow = Promise.resolve().then(() => log.push('done'));
    await expect(settleAll('work', [Promise.reject(new Error('one')), slow])).rejects.toThrow('one');
    expect(log).toEqual(['done']);
    const two = settleAll('work', [Promise.reject(new Error('one')), Promise.reject(new Error('two'))]);
    await expect(two).rejects.toThrow('work failed: Error: one; Error: two');
  });
});
