/** The lines of a file that something is about, as people are shown them. Pure. */
import type { Place } from './errors.ts';

/** Lines around those that are meant. */
const AROUND = 3;

/** The last line of an instruction. */
export function lastLineOf({ line, source }: Place): number {
  return line + source.trimEnd().split('\n').length - 1;
}

/** The lines of `place` and some around them, each with its number, those that are meant with an arrow. */
export function excerpt(name: string, text: string, place: Place): string {
  const lines = text.split('\n');
  const last = lastLineOf(place);
  const rule = '-'.repeat(20);
  const shown = lines
    .map((content, i) => ({ number: i + 1, content }))
    .filter(({ number }) => number >= place.line - AROUND && number <= last + AROUND)
    .filter(({ number, content }) => number < lines.length || content !== '')
    .map(({ number, content }) => {
      const arrow = number >= place.line && number <= last ? '>>> ' : '    ';
      return `${String(number).padStart(4)} | ${arrow}${content.replace(/\r$/, '')}`.trimEnd();
    });
  return [`${name}:${place.line}`, rule, ...shown, rule, ''].join('\n');
}
