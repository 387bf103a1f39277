/** Names close to one that was mistyped. */
import { closest, distance } from 'fastest-levenshtein';

/** How wrong a word may be to be taken for another: a third of its letters, and at least one slip. */
function tolerance(word: string): number {
  return Math.max(1, Math.floor(word.length / 3));
}

/** The known name that `word` was probably meant to be, or undefined. */
export function suggestion(word: string, known: readonly string[]): string | undefined {
  if (word === '' || known.length === 0) return undefined;
  const swapped = known.find((name) => name.length === word.length && isSwap(word, name));
  if (swapped) return swapped;
  const best = closest(word, known);
  return best !== word && distance(word, best) <= tolerance(word) ? best : undefined;
}

/** Two neighbours exchanged count as one slip: `rnu`, `pluls`. */
function isSwap(a: string, b: string): boolean {
  const at = [...a].findIndex((letter, index) => letter !== b[index]);
  return at >= 0 && a[at] === b[at + 1] && a[at + 1] === b[at] && a.slice(at + 2) === b.slice(at + 2);
}
