/** Execs and the end of a daemon: what was started goes on, and the next daemon knows it. */
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

interface ExecJson {
  Running: boolean;
  ExitCode: number | null;
  Pid: number;
  ProcessConfig: { entrypoint: string; arguments: string[]; user?: string };
}

describe.skipIf(missing !== undefined)(
  `execs over restarts of the daemon${missing ? ` (skipped: ${missing})` : ''}`,
  () => {
    let lab: Lab;
    let folder: string;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'execs-'));
      // for a user of the container, too
      await chmod(folder, 0o777);
      lab = await startLab();
      await lab.ok(['run', '-d', '--name', 'up', '-v', `${folder}:/f`, lab.busybox, 'sleep', '600']);
    });
    afterAll(async () => {
      // whatever a test has left of it
      await lab?.restartDaemon('SIGTERM');
      await lab?.[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    });

    const inspect = async (id: string): Promise<ExecJson> => {
      const reply = await lab.api('GET', `/exec/${id}/json`);
      expect(reply.status).toBe(200);
      return reply.json() as ExecJson;
    };
    /** Starts a script in the container that nobody attends to. @returns the exec's id */
    const begin = async (script: string): Promise<string> => {
      const request = { Cmd: ['sh', '-c', script], User: '7:8' };
      const created = await lab.api('POST', '/containers/up/exec', JSON.stringify(request));
      const { Id: id } = created.json() as { Id: string };
      const started = await lab.api('POST', `/exec/${id}/start`, JSON.stringify({ Detach: true }));
      expect(started.status).toBe(200);
      return id;
    };
    const waitFor = (file: string) => `until [ -e /f/${file} ]; do sleep 0.05; done`;
    const ended = (id: string): Promise<ExecJson> =>
      eventually(`exec ${id} has ended`, async () => {
        const state = await inspect(id);
        return state.Running ? undefined : state;
      });

    test.each(['SIGTERM', 'SIGKILL'] as const)('are inspected as before, after a %s', async (signal) => {
      const runs = await begin(`${waitFor(`go-${signal}`)}; exit 5`);
      const meanwhile = await begin(`${waitFor(`meanwhile-${signal}`)}; exit 6`);
      const over = await begin('exit 3');
      expect((await ended(over)).ExitCode).toBe(3);
      const before = await inspect(runs);
      expect(before).toMatchObject({ Running: true, ExitCode: null });
      const { Pid: pid } = await inspect(meanwhile);

      await lab.daemon.stop(signal);
      await writeFile(join(folder, `meanwhile-${signal}`), '');
      await eventually('its end', () => Promise.resolve(existsSync(`/proc/${pid}`) ? undefined : true));
      await lab.restartDaemon(signal);

      expect(await inspect(runs)).toEqual(before);
      expect(await inspect(over)).toMatchObject({ Running: false, ExitCode: 3 });
      expect(await inspect(meanwhile)).toMatchObject({
        Running: false,
        ExitCode: 6,
        ProcessConfig: { entrypoint: 'sh', user: '7:8' },
      });
      expect(JSON.parse(await lab.ok(['inspect', '-f', '{{json .ExecIDs}}', 'up']))).toEqual([runs]);
      const again = await lab.api('POST', `/exec/${runs}/start`, JSON.stringify({ Detach: true }));
      expect(again.status).toBe(409);

      await writeFile(join(folder, `go-${signal}`), '');
      expect((await ended(runs)).ExitCode).toBe(5);
      const filters = encodeURIComponent(JSON.stringify({ event: ['exec_die'] }));
      const until = (Date.now() / 1000).toFixed(3);
      const told = await lab.api('GET', `/events?since=1&until=${until}&filters=${filters}`);
      const deaths = told.body
        .toString()
        .split('\n')
        .filter((line) => line.includes(runs));
      expect(deaths).toEqual([expect.stringContaining('"exitCode":"5"')]);
    });

    test('the stock client that waits for one is cut off, and the command goes on', async () => {
      const client = lab.docker([
        'exec',
        '-t',
        'up',
        'sh',
        '-c',
        `echo hi; ${waitFor('end')}; echo > /f/done`,
      ]);
      const [id] = await eventually('the exec', async () => {
        const ids = JSON.parse(await lab.ok(['inspect', '-f', '{{json .ExecIDs}}', 'up'])) as string[] | null;
        return ids ?? undefined;
      });
      await lab.restartDaemon('SIGKILL');
      await client;
      expect((await lab.api('POST', `/exec/${id}/resize?h=11&w=22`)).status).toBe(200);
      await writeFile(join(folder, 'end'), '');
      expect((await ended(id!)).ExitCode).toBe(0);
      expect(existsSync(join(folder, 'done'))).toBe(true);
    });
  },
);
