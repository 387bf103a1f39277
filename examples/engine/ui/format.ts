/** How the page writes numbers, times and names. */

/** `1.2 MB`. */
export function size(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
    if (value < 1000 || unit === 'TB')
      return `${value < 10 && unit !== 'B' ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return '';
}

/** `350 ms`, `2.1 s`, `4 min`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}

/** `12:03:04`. */
export function clock(date: Date): string {
  return date.toTimeString().slice(0, 8);
}

/** `2026-01-02`. */
export function day(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

/** The twelve digits that people know an object by. */
export function short(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}

/** A container's name without the slash. */
export function nameOf({ Names, Id }: { Names: string[]; Id: string }): string {
  return Names[0]?.replace(/^\//, '') ?? short(Id);
}
