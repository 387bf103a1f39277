/** What `tare --help` and `tare <group>` print. */
import type { Entry } from './command-table.ts';

/** What most people need first. */
const common = [
  'run',
  'exec',
  'ps',
  'pull',
  'push',
  'images',
  'login',
  'logout',
  'version',
  'info',
  'jobs',
  'daemon',
];

/** The commands of the program or of one group, with a line on each. */
export function overview(table: Readonly<Record<string, Entry>>, path: string): string {
  const top = path === 'tare';
  const shown = Object.entries(table).filter(([, entry]) => !('hidden' in entry));
  const width = Math.max(...shown.map(([name]) => name.length));
  const section = (title: string, entries: [string, Entry][]): string => {
    const rows = entries.map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}\n`).join('');
    return rows && `${title}:\n${rows}`;
  };
  const isCommon = (name: string): boolean => top && common.includes(name);
  const rank = ([name]: [string, Entry]): number => common.indexOf(name);
  return [
    `Usage:  ${path} ${top ? '[OPTIONS] COMMAND' : 'COMMAND'}\n`,
    top ? 'Containers made of npm packages\n' : '',
    section(
      'Common Commands',
      shown.filter(([name]) => isCommon(name)).sort((a, b) => rank(a) - rank(b)),
    ),
    section(
      'Management Commands',
      shown.filter(([, entry]) => 'commands' in entry),
    ),
    section(
      'Commands',
      shown.filter(([name, entry]) => !isCommon(name) && !('commands' in entry)),
    ),
    top ? globalHelp : '',
    `Run '${path} COMMAND --help' for more information on a command.`,
  ]
    .filter((text) => text !== '')
    .join('\n');
}

const globalHelp = `Global Options:
      --config string   Location of client config files (default "~/.docker")
  -D, --debug           Show where an error comes from
  -H, --host string     Daemon to connect to; also TARE_HOST or DOCKER_HOST (default "unix:///run/tare.sock")
      --tls             Use TLS; implied by --tlsverify
      --tlscacert, --tlscert, --tlskey string   PEM files (default ca.pem, cert.pem, key.pem in ~/.docker)
      --tlsverify       Use TLS and verify the remote
  -v, --version         Print version information and quit
`;
