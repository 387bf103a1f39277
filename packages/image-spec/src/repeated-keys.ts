/** Keys that a JSON document has twice: one reader takes the first, another the last, and both are right. */

/**
 * The JSON paths of keys that repeat one of the same object. `text` must be valid JSON.
 *
 * @param pathOf writes a path, as for other findings
 */
export function repeatedKeys(text: string, pathOf: (path: readonly PropertyKey[]) => string): string[] {
  const found: string[] = [];
  /** The objects and arrays around: keys seen so far, or the number of items. */
  const open: ({ keys: Set<string>; key: string } | { item: number })[] = [];
  // strings, and the characters that open, close and separate
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},]/gs)) {
    const around = open.at(-1);
    if (token === '{') open.push({ keys: new Set(), key: '' });
    else if (token === '[') open.push({ item: 0 });
    else if (token === '}' || token === ']') open.pop();
    else if (token === ',') {
      if (around !== undefined && 'item' in around) around.item += 1;
    } else if (
      around !== undefined &&
      'keys' in around &&
      /^\s*:/.test(text.slice(index + token.length, index + token.length + 64))
    ) {
      around.key = JSON.parse(token) as string;
      if (around.keys.has(around.key))
        found.push(pathOf(open.map((each) => ('item' in each ? each.item : each.key))));
      around.keys.add(around.key);
    }
  }
  return found;
}
