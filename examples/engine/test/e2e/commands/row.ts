/** One row of the command tables: a command line of docker's, and what it has to do. */

/** What comes of a command line. */
export interface Row {
  /** The command and flags that the row is about: the test's name. */
  name: string;
  /** Command lines that come first, each of which must succeed. See {@link words} for how they are written. */
  before?: readonly string[];
  /** The command line. */
  line: string;
  /** Its standard input. */
  input?: string;
  /** Default 0. */
  code?: number;
  /** The whole of it, or what it matches; default: anything. */
  stdout?: string | RegExp;
  stderr?: string | RegExp;
  /** A command line whose standard output, trimmed, is looked at afterwards, and what that is. */
  after?: readonly [line: string, stdout: string | RegExp];
  /** First major version of the docker CLI that has it. */
  since?: number;
}

/** Values for the words in capitals of a line. */
export interface Words {
  /** A reference of a busybox image. */
  IMG: string;
  /** Repository prefix of the registry. */
  REG: string;
  /** A name of the row's own, of which others can be made: `NAME-2`. */
  NAME: string;
  /** A folder of the row's own on the host, empty at first. */
  DIR: string;
  /** A free port of the host. */
  PORT: string;
  /** This moment, in seconds with a fraction. */
  NOW: string;
}

/** A line as arguments: at spaces, but for those in single or double quotes; words in capitals are replaced. */
export function words(line: string, values: Words): string[] {
  const found = line.matchAll(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g);
  return [...found].map(([word]) =>
    word
      .replace(/'([^']*)'|"([^"]*)"/g, (_all, single?: string, double?: string) => single ?? double ?? '')
      .replace(/\b(?:IMG|NAME|DIR|PORT|NOW)\b|\bREG/g, (name) => values[name as keyof Words]),
  );
}
