/** `SecurityOpt`: what it says about privileges and system calls. Pure. */
import { invalid } from '../errors.ts';

/** Parsed `SecurityOpt`. */
export interface SecurityOptions {
  noNewPrivileges: boolean;
  /** Name of a profile, or `unconfined`; undefined when nothing is said. */
  apparmor?: string;
  /** `default` is the engine's choice, `builtin` its own profile. */
  seccomp: 'default' | 'builtin' | 'unconfined' | { profile: string };
  /** What `UsernsMode` says, for clients that do not let it; beyond dockerd. */
  userNamespace?: string;
}

/**
 * Parses the options. Those of SELinux are accepted and without effect, since this engine sets no labels.
 *
 * @throws {EngineError} `INVALID` in dockerd's words
 */
export function parseSecurityOptions(
  options: readonly string[] = [],
  noNewPrivileges = false,
): SecurityOptions {
  const result: SecurityOptions = { noNewPrivileges, seccomp: 'default' };
  for (const option of options) {
    if (option === 'no-new-privileges') {
      result.noNewPrivileges = true;
      continue;
    }
    // `key:value` is the form of old; a profile's JSON has colons, so `=` comes first
    const at = option.includes('=') ? option.indexOf('=') : option.indexOf(':');
    if (at <= 0) throw invalid(`invalid --security-opt 1: "${option}"`);
    const value = option.slice(at + 1);
    switch (option.slice(0, at)) {
      case 'no-new-privileges':
        if (!/^(true|false|1|0|t|f|T|F|TRUE|FALSE|True|False)$/.test(value)) {
          throw invalid(`invalid --security-opt 2: "${option}"`);
        }
        result.noNewPrivileges = /^(1|t|true)$/i.test(value);
        break;
      case 'seccomp':
        if (value === 'unconfined') result.seccomp = 'unconfined';
        else if (value === 'builtin') result.seccomp = 'builtin';
        else if (value === 'default' || value === '') result.seccomp = 'default';
        else result.seccomp = { profile: value };
        break;
      case 'apparmor':
        result.apparmor = value;
        break;
      case 'userns':
        if (!['host', 'private', 'auto'].includes(value)) {
          throw invalid(`invalid --security-opt 2: "${option}": it can be host, private or auto`);
        }
        result.userNamespace = value;
        break;
      case 'label':
        break;
      default:
        throw invalid(`invalid --security-opt 2: "${option}"`);
    }
  }
  return result;
}
