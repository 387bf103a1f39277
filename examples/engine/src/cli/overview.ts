/** What `tare --help` and `tare <group>` print. */
import type { Entry } from './command-table.ts';
import type { Plugin } from './plugins.ts';

/** What most people need first. */
const common = [
  'run',
  'exec',
  'ps',
  'build',
  'pull',
  'push',
  'images',
  'login',
  'logout',
  'search',
  'version',
  'info',
  'jobs',
  'doctor',
  'ui',
  'daemon',
];

/** The commands of the program or of one group, with a line on each; those of plugins marked with a star. */
export function overview(
  table: Readonly<Record<string, Entry>>,
  path: string,
  plugins: readonly Plugin[] = [],
): string {
  const top = path === 'tare';
  const shown: [string, Entry][] = [
    ...Object.entries(table).filter(([, entry]) => !('hidden' in entry)),
    ...plugins.map(({ name, summary }): [string, Entry] => [`${name}*`, { summary, commands: {} }]),
  ].sort(([a], [b]) => (a < b ? -1 : 1));
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
      --config string      Location of client config files (default "~/.docker")
  -c, --context string     Name of the daemon to use, one of 'tare context ls'
  -D, --debug              Show where an error comes from
  -H, --host string        Daemon to connect to; also TARE_HOST or DOCKER_HOST
                           (default "unix:///run/tare.sock")
  -l, --log-level string   Accepted for docker's sake (default "info")
      --tls                Use TLS; implied by --tlsverify
      --tlscacert string   Trust certs signed only by this CA (default "~/.docker/ca.pem")
      --tlscert string     Path to TLS certificate file (default "~/.docker/cert.pem")
      --tlskey string      Path to TLS key file (default "~/.docker/key.pem")
      --tlsverify          Use TLS and verify the remote
  -v, --version            Print version information and quit
`;
