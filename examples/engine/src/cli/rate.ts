/** How fast something goes, and how long it will take. */
import { decimalSize } from './format/units.ts';

/** Shorter spans than this are mostly noise. */
const LEAST_SECONDS = 0.25;
/** Weight of what was before against the latest span. */
const MEMORY = 0.7;

/** Bytes per second over the last few seconds. */
export class Rate {
  #since: number;
  #bytes = 0;
  /** 0 until it is known. */
  perSecond = 0;

  /** @param now in milliseconds, of a clock that does not jump */
  constructor(now: number = performance.now()) {
    this.#since = now;
  }

  /** Hears that `current` bytes are done. */
  add(current: number, now: number = performance.now()): void {
    if (current < this.#bytes) {
      // A new phase counts from zero again.
      this.#bytes = current;
      this.#since = now;
      this.perSecond = 0;
      return;
    }
    const seconds = (now - this.#since) / 1000;
    if (seconds < LEAST_SECONDS) return;
    const latest = (current - this.#bytes) / seconds;
    this.perSecond = this.perSecond === 0 ? latest : this.perSecond * MEMORY + latest * (1 - MEMORY);
    this.#bytes = current;
    this.#since = now;
  }

  /** `5.6MB/s` and `12s left`, as far as they are known. */
  figures(current: number, total: number): string[] {
    if (this.perSecond <= 0) return [];
    const speed = `${decimalSize(Math.round(this.perSecond), 3)}/s`;
    return total > current ? [speed, `${timeLeft((total - current) / this.perSecond)} left`] : [speed];
  }
}

/** `9s`, `3m20s`, `2h05m`. */
export function timeLeft(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole}s`;
  const two = (value: number): string => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  const minutes = Math.ceil(whole / 60);
  return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
}
