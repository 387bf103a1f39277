/** A story of contexts, told to `tare` and to the stock docker CLI. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Outcome } from './drive.ts';

/** One command line, and what it did. */
export interface Step {
  line: string;
  outcome: Outcome;
}

type Drive = (
  args: readonly string[],
  options: { env: Record<string, string>; cwd: string },
) => Promise<Outcome>;

/** Command lines, some with variables before them. */
const lines = [
  'context ls',
  'context create a',
  'context create default',
  'context create aa --docker host=tcp://1.2.3.4:5 --description words',
  'context create aa --docker host=tcp://1.2.3.4:5',
  'context create cc --from aa',
  'context create nn --docker host=tcp://1:2,ca=/nonexistent',
  'context create nn --docker host=tcp://1:2,ca=no.pem',
  'context create nn --docker foo=bar',
  'context create tt --docker host=tcp://1.2.3.4:2376,ca=ca.pem,skip-tls-verify=true',
  'context ls',
  'context ls -q',
  'context ls --format {{.Name}}={{.DockerEndpoint}}={{.Current}}',
  'context inspect tt aa',
  'context inspect nosuch',
  'context inspect -f {{.Name}} aa',
  'context show',
  'context use nosuch',
  'context use aa',
  'context show',
  'context inspect -f {{.Endpoints.docker.Host}}',
  'context ls --format json',
  'DOCKER_CONTEXT=tt context show',
  'DOCKER_HOST=unix:///other.sock context show',
  'DOCKER_HOST=unix:///other.sock context use aa',
  'DOCKER_HOST=unix:///other.sock context ls -q',
  '-c cc context show',
  'context update cc --description new',
  'context update cc --docker host=tcp://9.9.9.9:9',
  'context update nosuch',
  'context ls',
  'context rm aa',
  'context rm nosuch default',
  'context export tt',
  'context export tt',
  'context export nosuch',
  'context import tt tt.dockercontext',
  'context import ee tt.dockercontext',
  'context import ff nosuch',
  'context inspect ee -f {{.Endpoints.docker.SkipTLSVerify}}',
  'context rm cc ee',
  'context rm -f aa',
  'context show',
  'context ls',
  '-c aa ps',
  '-c aa -H unix:///x ps',
  '-l loud ps',
];

/** A certificate of nobody, good until the next century. */
const pem = `-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUOLk/17/u+UQEx1kUhEcapcrd2GEwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjYxMTE2NTNaGA8yMTI2MTEwMjExMTY1
M1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAVY
GVWCNlPvUeZ6sV+9qF21o9+50Wv+3zb+u57HaZ4z6PJQz53VULAm2Jsreieb7GN6
ihMqjyJB4OvDCceQG8+jUzBRMB0GA1UdDgQWBBSdnmSDfOxD/78DYVa5JLNmW5ZN
bDAfBgNVHSMEGDAWgBSdnmSDfOxD/78DYVa5JLNmW5ZNbDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCID7UenwzsBJ8N18YXJCSDTmWl89fhOHvdJ83
+QFW3pYzAiAxVnOZbboKqk8mRXPOS99YbHekLSaStblxxM2jMQlxfg==
-----END CERTIFICATE-----
`;

/** Plays the story in a home of its own. */
export async function playContexts(drive: Drive): Promise<Step[]> {
  const home = await mkdtemp(join(tmpdir(), 'contexts-'));
  try {
    await writeFile(join(home, 'ca.pem'), pem);
    await writeFile(join(home, 'no.pem'), 'no PEM at all');
    const steps: Step[] = [];
    for (const line of lines) {
      const words = line.split(' ');
      const env: Record<string, string> = { HOME: home };
      while (/^[A-Z_]+=/.test(words[0]!)) {
        const [name, value] = words.shift()!.split('=', 2) as [string, string];
        env[name] = value;
      }
      const { code, stdout, stderr } = await drive(words, { env, cwd: home });
      steps.push({ line, outcome: { code, stdout: neutral(stdout, home), stderr: neutral(stderr, home) } });
    }
    return steps;
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** Where the daemon is by default is each client's own, with the width of its column. */
function neutral(text: string, home: string): string {
  return text
    .replaceAll(home, '<home>')
    .replace(/unix:\/\/\/(?:var\/run\/docker|run\/tare)\.sock/g, '<default>')
    .replace(/ {2,}(?=\S)/g, '  ')
    .replace(/ +$/gm, '');
}
