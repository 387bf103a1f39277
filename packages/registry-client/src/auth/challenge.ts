/** Parses `WWW-Authenticate`. @see https://www.rfc-editor.org/rfc/rfc9110.html#name-www-authenticate */

/** One way in that a server offers. */
export interface Challenge {
  /** Lower case, for example `bearer`. */
  scheme: string;
  /** Keys in lower case. Of a key given twice the first counts. */
  params: ReadonlyMap<string, string>;
}

/** More is not looked at: real servers send one or two, of a few hundred characters. */
const MAX_LENGTH = 8 * 1024;

/**
 * Parses all challenges of a response: several headers, and several challenges in one header.
 *
 * What does not follow the grammar is skipped, since one scheme we do not know must not hide another that we do.
 */
export function parseChallenges(header: string | readonly string[] | undefined): Challenge[] {
  const text = (typeof header === 'string' ? header : (header ?? []).join(', ')).slice(0, MAX_LENGTH);
  const challenges: { scheme: string; params: Map<string, string> }[] = [];
  // a parameter (quoted or not), or a word: the name of the next scheme
  const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
  const pattern = new RegExp(
    `(${token})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}))|(${token})|[^]`,
    'gy',
  );
  for (const [, name, quoted, plain, word] of text.matchAll(pattern)) {
    if (word !== undefined) {
      challenges.push({ scheme: word.toLowerCase(), params: new Map() });
    } else if (name !== undefined) {
      const params = challenges.at(-1)?.params;
      const key = name.toLowerCase();
      if (params && !params.has(key)) params.set(key, quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '');
    }
  }
  return challenges;
}
