/** Wildcards of COPY and ADD: Go's filepath.Match, one component at a time. Pure. */

/** Whether a pattern has wildcards at all. */
export function hasWildcards(pattern: string): boolean {
  return /[*?[\\]/.test(pattern);
}

/**
 * A pattern for one name as a regular expression: `*` and `?` match no slash, `[a-z]` and `[^a-z]` one character, a
 * backslash takes the meaning from what follows.
 *
 * @returns undefined for a malformed pattern
 */
export function namePattern(pattern: string): RegExp | undefined {
  let source = '';
  for (let i = 0; i < pattern.length; i += 1) {
    const char = pattern[i]!;
    if (char === '*') source += '[^/]*';
    else if (char === '?') source += '[^/]';
    else if (char === '\\') {
      i += 1;
      if (i === pattern.length) return undefined;
      source += literal(pattern[i]!);
    } else if (char === '[') {
      const set = /^\[(\^?)((?:\\.|[^\]\\])+)\]/s.exec(pattern.slice(i));
      if (!set) return undefined;
      const inside = set[2]!.replace(
        /\\(.)|[\^[]/gs,
        (whole, escaped: string | undefined) => `\\${escaped ?? whole}`,
      );
      source += `[${set[1]}${inside}]`;
      i += set[0].length - 1;
    } else source += literal(char);
  }
  try {
    return new RegExp(`^${source}$`, 's');
  } catch {
    // a range from high to low
    return undefined;
  }
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}
