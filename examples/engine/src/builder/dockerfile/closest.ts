/** Did-you-mean. */
import { distance } from 'fastest-levenshtein';

/** The candidate that `word` was probably meant to be; undefined when none is near. */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  const limit = Math.ceil(word.length / 3);
  let best: { candidate: string; edits: number } | undefined;
  for (const candidate of candidates) {
    const edits = distance(word.toUpperCase(), candidate.toUpperCase());
    if (edits <= limit && edits < (best?.edits ?? Number.POSITIVE_INFINITY)) best = { candidate, edits };
  }
  return best?.candidate;
}
