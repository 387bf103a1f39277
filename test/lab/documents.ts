/** The blocks of code in a document. */
import { readFileSync } from 'node:fs';

/** What stands between two fences. */
export interface Block {
  language: string;
  text: string;
  /** The comment right above it. */
  remark: string;
  line: number;
}

export function blocksOf(path: string): Block[] {
  const text = readFileSync(path, 'utf8');
  const pattern = /(?:<!-- (.*) -->\n)?^```(\w*)\n([\s\S]*?)^```$/gm;
  return [...text.matchAll(pattern)].map((found) => ({
    remark: found[1] ?? '',
    language: found[2]!,
    text: found[3]!,
    line: text.slice(0, found.index).split('\n').length,
  }));
}
