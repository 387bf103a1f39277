/** The flags before the command: which daemon, which configuration, how much to say. */
import type { GlobalFlags } from './cli.ts';
import { UsageError } from './errors.ts';

/** Flags before the command that take a value. */
const globalValues: Record<
  string,
  'host' | 'context' | 'config' | 'tlscacert' | 'tlscert' | 'tlskey' | 'level'
> = {
  '-H': 'host',
  '--host': 'host',
  '--config': 'config',
  '--tlscacert': 'tlscacert',
  '--tlscert': 'tlscert',
  '--tlskey': 'tlskey',
  '-l': 'level',
  '--log-level': 'level',
  '-c': 'context',
  '--context': 'context',
};

const globalHint = `\n\nUsage:  tare [OPTIONS] COMMAND [ARG...]\n\nRun 'tare --help' for more information`;

/**
 * Takes the global flags off the front.
 *
 * @throws {UsageError} for anything else with a dash there
 */
export function splitGlobals(argv: readonly string[]): {
  globals: GlobalFlags & { version: boolean };
  rest: string[];
} {
  const globals = {
    host: '',
    context: '',
    config: '',
    debug: false,
    version: false,
    tls: { tls: false, tlsverify: false, tlscacert: '', tlscert: '', tlskey: '' },
  };
  const words = [...argv];
  while (words[0]?.startsWith('-')) {
    const word = words.shift()!;
    if (word === '--help' || word === '-h') return { globals, rest: ['--help'] };
    if (word === '-v' || word === '--version') globals.version = true;
    else if (word === '-D' || word === '--debug') globals.debug = true;
    else if (word === '--tls') globals.tls.tls = true;
    else if (word === '--tlsverify') globals.tls.tlsverify = true;
    else {
      const { name, value } = valueOf(word, words);
      const key = globalValues[name];
      if (!key) throw new UsageError(`unknown flag: ${word}${globalHint}`, { exitCode: 125 });
      if (value === undefined) {
        const missing = name.startsWith('--') ? name : `'${name[1]}' in ${name}`;
        throw new UsageError(`flag needs an argument: ${missing}${globalHint}`, { exitCode: 125 });
      }
      if (key === 'host' || key === 'config' || key === 'context') globals[key] = value;
      else if (key === 'level') checkLevel(value);
      else globals.tls[key] = value;
    }
  }
  if (globals.host && globals.context) {
    throw new UsageError('conflicting options: cannot specify both --host and --context');
  }
  return { globals, rest: words };
}

/** Accepted for the sake of scripts: there is one level, and `--debug`. */
function checkLevel(level: string): void {
  if (['debug', 'info', 'warn', 'warning', 'error', 'fatal', 'panic', 'trace'].includes(level)) return;
  throw new UsageError(`Unable to parse logging level: ${level}`);
}

/** `--host=x`, `--host x`, `-H x`, `-Hx`; takes a separate value off `words`. */
function valueOf(word: string, words: string[]): { name: string; value: string | undefined } {
  if (word.startsWith('--')) {
    const at = word.indexOf('=');
    if (at !== -1) return { name: word.slice(0, at), value: word.slice(at + 1) };
    return { name: word, value: globalValues[word] ? words.shift() : undefined };
  }
  const name = word.slice(0, 2);
  if (word.length > 2) return { name, value: word.slice(2).replace(/^=/, '') };
  return { name, value: globalValues[name] ? words.shift() : undefined };
}
