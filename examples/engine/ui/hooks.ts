/** How components get what they show. */
import { useEffect, useState } from 'preact/hooks';
import { get } from './api.ts';

/** Something fetched, or why it could not be. */
export interface Fetched<T> {
  value: T | undefined;
  error: string;
}

/** What is at `path`, fetched again whenever `version` changes and every `everyMs`. */
export function useApi<T>(path: string, version: unknown = 0, everyMs = 5000): Fetched<T> {
  const [state, setState] = useState<Fetched<T>>({ value: undefined, error: '' });
  useEffect(() => {
    const stop = new AbortController();
    const load = async (): Promise<void> => {
      try {
        setState({ value: await get<T>(path, stop.signal), error: '' });
      } catch (error) {
        if (!stop.signal.aborted) setState((before) => ({ ...before, error: String(error) }));
      }
    };
    void load();
    const timer = setInterval(() => void load(), everyMs);
    return () => {
      clearInterval(timer);
      stop.abort();
    };
  }, [path, version, everyMs]);
  return state;
}

/** Runs `work` while the component is there; it hears of the end by its signal. */
export function useStream(work: (signal: AbortSignal) => Promise<void>, key: unknown): void {
  useEffect(() => {
    const stop = new AbortController();
    work(stop.signal).catch((error: unknown) => {
      // a stream that ends with its page is no news
      if (!stop.signal.aborted) console.error(error);
    });
    return () => stop.abort();
  }, [key]);
}
