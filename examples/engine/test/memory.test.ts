import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { MemoryKeeper } from '../src/memory.ts';

describe('the memory of an engine', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  it('is given back once nothing was asked for five seconds, when that is worth it', () => {
    const rss = vi.spyOn(process.memoryUsage, 'rss').mockReturnValue(100e6);
    const trim = vi.fn(() => void rss.mockReturnValue(50e6));
    using keeper = new MemoryKeeper(trim);
    vi.advanceTimersByTime(4_900);
    keeper.stir();
    vi.advanceTimersByTime(4_900);
    expect(trim).toHaveBeenCalledTimes(0);
    vi.advanceTimersByTime(200);
    expect(trim).toHaveBeenCalledTimes(1);
    rss.mockReturnValue(55e6);
    keeper.stir();
    vi.advanceTimersByTime(10_000);
    expect(trim).toHaveBeenCalledTimes(1);
    rss.mockReturnValue(60e6);
    keeper.stir();
    vi.advanceTimersByTime(10_000);
    expect(trim).toHaveBeenCalledTimes(2);
  });

  it('shrinks for real, and the collector is nowhere to be seen afterwards', () => {
    const { heapTotal } = process.memoryUsage();
    let hoard: unknown[] | undefined = Array.from({ length: 2e6 }, (_, i) => ({ i }));
    expect(hoard.length).toBe(2e6);
    const grown = process.memoryUsage().heapTotal;
    hoard = undefined;
    using _keeper = new MemoryKeeper(() => {});
    vi.advanceTimersByTime(5_000);
    expect(process.memoryUsage().heapTotal - heapTotal).toBeLessThan((grown - heapTotal) / 4);
    expect('gc' in globalThis).toBe(false);
  });
});
