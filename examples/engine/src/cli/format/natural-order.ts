/** Text in natural order: runs of digits compare as numbers, everything else by code unit, so `n2` precedes `n10`. */
export function compareNatural(a: string, b: string): number {
  const left = a.match(/\d+|\D/g) ?? [];
  const right = b.match(/\d+|\D/g) ?? [];
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    const [x, y] = [left[at]!, right[at]!];
    if (x === y) continue;
    const numeric =
      /\d/.test(x) && /\d/.test(y) ? Number(BigInt(x) > BigInt(y)) - Number(BigInt(x) < BigInt(y)) : 0;
    return numeric || (x < y ? -1 : 1);
  }
  return left.length - right.length;
}
