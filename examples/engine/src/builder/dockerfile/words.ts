/**
 * The words of a Dockerfile: quoting, splitting and expansion of variables, by the rules of BuildKit's shell lexer,
 * which are those of sh(1) without commands. Pure.
 */

/** Looks a variable up; undefined for one that is not set. */
export type Lookup = (name: string) => string | undefined;

/** A word that cannot be read. The message is complete but for the line it is on. */
export class WordError extends Error {}
Object.defineProperty(WordError.prototype, 'name', { value: 'WordError', writable: true });

/** Options of {@link expandWord}. */
export interface ExpandOptions {
  /** The escape character of the file. Default: a backslash. */
  escape?: string;
  /** Called with the name of a variable that is used and not set. */
  onUnset?: (name: string) => void;
}

/** One word: variables expanded, quotes and escapes taken away. @throws {WordError} */
export function expandWord(word: string, lookup: Lookup, options: ExpandOptions = {}): string {
  return new Lexer(word, lookup, options).word(undefined);
}

/** A text with its variables expanded, as sh(1) does in a here-document: quotes are letters. @throws {WordError} */
export function expandText(text: string, lookup: Lookup, options: ExpandOptions = {}): string {
  return new Lexer(text, lookup, options, true).word(undefined);
}

/**
 * Splits at blanks that are not quoted or escaped; the words keep their quotes and escapes.
 *
 * @param escape - the escape character of the file
 */
export function splitWords(text: string, escape = '\\'): string[] {
  const words: string[] = [];
  let word = '';
  let quote = '';
  let inWord = false;
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i]!;
    if (quote === '' && /\s/.test(char)) {
      if (inWord) words.push(word);
      word = '';
      inWord = false;
      continue;
    }
    inWord = true;
    word += char;
    if (char === escape && quote !== "'" && i + 1 < text.length) {
      i += 1;
      word += text[i]!;
    } else if (quote === '' && (char === '"' || char === "'")) quote = char;
    else if (char === quote) quote = '';
  }
  if (inWord) words.push(word);
  return words;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*/;
/** Positional and special parameters, which are never set. */
const SPECIAL = /^[0-9@*#?\-$!]/;

class Lexer {
  readonly #text: string;
  readonly #lookup: Lookup;
  readonly #options: ExpandOptions;
  readonly #escape: string;
  /** Quotes are letters, and little is escaped. */
  readonly #isText: boolean;
  #at = 0;

  constructor(text: string, lookup: Lookup, options: ExpandOptions, isText = false) {
    this.#isText = isText;
    this.#text = text;
    this.#lookup = lookup;
    this.#options = options;
    this.#escape = options.escape ?? '\\';
  }

  /** Up to `end` (which is taken), or to the end of the text. */
  word(end: string | undefined): string {
    let result = '';
    for (;;) {
      const char = this.#text[this.#at];
      if (char === undefined) {
        if (end !== undefined)
          throw new WordError(`unexpected end of ${JSON.stringify(this.#text)}: ${end} is missing`);
        return result;
      }
      this.#at += 1;
      if (char === end) return result;
      if (char === "'" && !this.#isText) result += this.#singleQuoted();
      else if (char === '"' && !this.#isText) result += this.#doubleQuoted();
      else if (char === '$') result += this.#dollar();
      else if (char === this.#escape) {
        const next = this.#text[this.#at];
        if (this.#isText && next !== '$' && next !== this.#escape) {
          result += char;
          continue;
        }
        // one at the very end stands for itself
        result += this.#text[this.#at] ?? '';
        this.#at += 1;
      } else result += char;
    }
  }

  #singleQuoted(): string {
    const close = this.#text.indexOf("'", this.#at);
    if (close < 0) throw new WordError('unexpected end of statement while looking for matching single-quote');
    const inside = this.#text.slice(this.#at, close);
    this.#at = close + 1;
    return inside;
  }

  #doubleQuoted(): string {
    let result = '';
    for (;;) {
      const char = this.#text[this.#at];
      if (char === undefined) {
        throw new WordError('unexpected end of statement while looking for matching double-quote');
      }
      this.#at += 1;
      if (char === '"') return result;
      if (char === '$') result += this.#dollar();
      else if (char === this.#escape) {
        const next = this.#text[this.#at];
        if (next === undefined) {
          throw new WordError('unexpected end of statement while looking for matching double-quote');
        }
        this.#at += 1;
        // only these are escaped between double quotes; before others the character stands for itself
        result += next === '"' || next === '$' || next === this.#escape ? next : char + next;
      } else result += char;
    }
  }

  /** After a dollar. */
  #dollar(): string {
    if (this.#text[this.#at] !== '{') {
      const name = this.#name();
      return name === '' ? '$' : (this.#value(name) ?? '');
    }
    this.#at += 1;
    const name = this.#name();
    if (name === '') throw new WordError(`bad substitution in ${JSON.stringify(this.#text)}`);
    const char = this.#text[this.#at];
    this.#at += 1;
    if (char === '}') return this.#value(name) ?? '';
    if (char === undefined) throw new WordError('syntax error: missing } in substitution');
    if (char === ':') {
      const operator = this.#text[this.#at] ?? '';
      this.#at += 1;
      return this.#default(name, operator, true);
    }
    if ('-+?'.includes(char)) return this.#default(name, char, false);
    if (char === '#' || char === '%') {
      const greedy = this.#text[this.#at] === char;
      if (greedy) this.#at += 1;
      const pattern = this.#rawWord('}');
      return trim(this.#value(name) ?? '', pattern, char === '#' ? 'start' : 'end', greedy);
    }
    if (char === '/') {
      const all = this.#text[this.#at] === '/';
      if (all) this.#at += 1;
      const pattern = this.#rawWord('/');
      const replacement = this.word('}');
      return replace(this.#value(name) ?? '', pattern, replacement, all);
    }
    throw new WordError(`unsupported modifier (${char}) in substitution`);
  }

  #default(name: string, operator: string, emptyCounts: boolean): string {
    const other = this.word('}');
    // whether it is set is asked, not what it is: nothing to warn of
    const value = this.#lookup(name);
    const isSet = value !== undefined && !(emptyCounts && value === '');
    switch (operator) {
      case '-':
        return isSet ? value : other;
      case '+':
        return isSet ? other : '';
      case '?':
        if (isSet) return value;
        throw new WordError(`${name}: ${other === '' ? 'is not allowed to be unset' : other}`);
      default:
        throw new WordError(`unsupported modifier (${operator}) in substitution`);
    }
  }

  /** A pattern up to `end`: escapes stay, since they escape wildcards too. */
  #rawWord(end: string): string {
    let result = '';
    for (;;) {
      const char = this.#text[this.#at];
      if (char === undefined) throw new WordError('syntax error: missing } in substitution');
      this.#at += 1;
      if (char === end) return result;
      if (char === '$') result += this.#dollar().replace(/[*?\\]/g, '\\$&');
      else if (char === this.#escape) {
        result += `\\${this.#text[this.#at] ?? ''}`;
        this.#at += 1;
      } else if (char === "'") result += this.#singleQuoted().replace(/[*?\\]/g, '\\$&');
      else if (char === '"') result += this.#doubleQuoted().replace(/[*?\\]/g, '\\$&');
      else result += char;
    }
  }

  #name(): string {
    const rest = this.#text.slice(this.#at);
    const [name = ''] = NAME.exec(rest) ?? SPECIAL.exec(rest) ?? [];
    this.#at += name.length;
    return name;
  }

  #value(name: string): string | undefined {
    const value = this.#lookup(name);
    if (value === undefined) this.#options.onUnset?.(name);
    return value;
  }
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}

/** A pattern of `*`, `?` and escaped characters as the source of a regular expression. */
function patternSource(pattern: string, greedy: boolean): string {
  return pattern.replace(/\\(.)|\*|\?|[^*?\\]+|\\/gs, (part, escaped: string | undefined) => {
    if (escaped !== undefined) return literal(escaped);
    if (part === '*') return greedy ? '.*' : '.*?';
    return part === '?' ? '.' : literal(part);
  });
}

function trim(value: string, pattern: string, where: 'start' | 'end', greedy: boolean): string {
  const source = patternSource(pattern, greedy);
  if (where === 'start') return value.replace(new RegExp(`^${source}`, 's'), '');
  // the shortest match at the end is that of the latest begin
  const whole = new RegExp(`^${source}$`, 's');
  const starts = Array.from({ length: value.length + 1 }, (_, i) => (greedy ? i : value.length - i));
  const start = starts.find((at) => whole.test(value.slice(at)));
  return start === undefined ? value : value.slice(0, start);
}

function replace(value: string, pattern: string, replacement: string, all: boolean): string {
  if (pattern === '') return value;
  return value.replace(new RegExp(patternSource(pattern, true), all ? 'gs' : 's'), () => replacement);
}
