/** The size of what a person looks at. */
import type { OutputStream } from './cli.ts';

/** Of a stream that is no terminal, or one that does not know its size (0), that of the terminals of old. */
export function screenOf({ columns, rows }: Pick<OutputStream, 'columns' | 'rows'>): {
  columns: number;
  rows: number;
} {
  return { columns: columns || 80, rows: rows || 24 };
}
