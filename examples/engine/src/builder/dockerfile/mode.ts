/** The modes of `--chmod`: octal, and symbolic as in chmod(1). Pure. */

/** The permission bits of a file that had `mode`. */
export type ModeChange = (mode: number, isDirectory: boolean) => number;

/** @throws {TypeError} for what is no mode */
export function parseModeChange(text: string): ModeChange {
  if (/^[0-7]{1,4}$/.test(text)) {
    const mode = Number.parseInt(text, 8);
    return () => mode;
  }
  const clauses = text.split(',').map(parseClause);
  return (mode, isDirectory) => clauses.reduce((now, change) => change(now, isDirectory), mode);
}

const READ = 0o444;
const WRITE = 0o222;
const EXECUTE = 0o111;
const STICKY = 0o1000;
/** Bits of the mode that each letter stands for; set-id bits belong to their class. */
const CLASSES: Readonly<Record<string, number>> = { u: 0o4700, g: 0o2070, o: 0o1007, a: 0o7777 };

function parseClause(text: string): ModeChange {
  const [, classes = '', actions = ''] = /^([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)$/.exec(text) ?? [];
  if (actions === '') throw new TypeError(`${JSON.stringify(text)} is no mode`);
  const mask = [...(classes === '' ? 'a' : classes)].reduce((bits, one) => bits | CLASSES[one]!, 0);
  const changes = Array.from(
    actions.matchAll(/([-+=])([rwxXst]*|[ugo])(?=[-+=]|$)/g),
    ([, sign, what = '']) => {
      return (mode: number, isDirectory: boolean): number => {
        const bits = bitsOf(what, mode, isDirectory) & mask;
        if (sign === '+') return mode | bits;
        if (sign === '-') return mode & ~bits;
        // chmod(1): set-id bits of a directory stay unless they are named
        const kept = isDirectory ? mode & 0o6000 : 0;
        return (mode & ~mask) | bits | (kept & mask);
      };
    },
  );
  return (mode, isDirectory) => changes.reduce((now, change) => change(now, isDirectory), mode);
}

/** The bits that permissions stand for, in every class. */
function bitsOf(what: string, mode: number, isDirectory: boolean): number {
  if (/^[ugo]$/.test(what)) {
    const shift = { u: 6, g: 3, o: 0 }[what as 'u' | 'g' | 'o'];
    return ((mode >> shift) & 7) * 0o111;
  }
  const isExecutable = isDirectory || (mode & EXECUTE) !== 0;
  const bits: Readonly<Record<string, number>> = {
    r: READ,
    w: WRITE,
    x: EXECUTE,
    X: isExecutable ? EXECUTE : 0,
    s: 0o6000,
    t: STICKY,
  };
  return [...what].reduce((all, letter) => all | bits[letter]!, 0);
}
