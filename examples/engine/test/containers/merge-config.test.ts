import { describe, expect, it } from 'vitest';

import { mergeConfig, pathAndArgs, processEnv } from '../../src/containers/merge-config.ts';

const image = { Entrypoint: ['/entry'], Cmd: ['default'], Env: ['PATH=/img', 'A=image'], User: 'web' };

describe('mergeConfig', () => {
  it.each<[string, object, string[]]>([
    ["runs the image's entrypoint with its command", {}, ['/entry', 'default']],
    ["gives its own command to the image's entrypoint", { Cmd: ['x', 'y'] }, ['/entry', 'x', 'y']],
    ["drops the image's command with an entrypoint of its own", { Entrypoint: ['sh'] }, ['sh']],
    ['joins an entrypoint and a command of its own', { Entrypoint: ['sh'], Cmd: ['-c'] }, ['sh', '-c']],
    ["takes the image's entrypoint away with an empty one", { Entrypoint: [''], Cmd: ['ls'] }, ['ls']],
  ])('%s', (_name, own, argv) => {
    const { path, args } = pathAndArgs(mergeConfig(own, image));
    expect([path, ...args]).toEqual(argv);
  });

  it('refuses a container that has nothing to run', () => {
    expect(() => mergeConfig({}, {})).toThrow('no command specified');
  });

  it("keeps its own variables and labels over the image's", () => {
    const merged = mergeConfig(
      { Env: ['A=own', 'B=1'], Labels: { l: 'own' } },
      { ...image, Labels: { l: 'image', m: 'image' } },
    );
    expect(merged.Env).toEqual(['A=own', 'B=1', 'PATH=/img']);
    expect(merged.Labels).toEqual({ l: 'own', m: 'image' });
    expect(merged.User).toBe('web');
  });

  it('joins exposed ports and volumes', () => {
    const merged = mergeConfig(
      { Cmd: ['x'], ExposedPorts: { '80/tcp': {} } },
      { ExposedPorts: { '443/tcp': {} }, Volumes: { '/data': {} } },
    );
    expect(Object.keys(merged.ExposedPorts ?? {}).sort()).toEqual(['443/tcp', '80/tcp']);
    expect(merged.Volumes).toEqual({ '/data': {} });
  });
});

describe('processEnv', () => {
  it('starts with PATH and HOSTNAME, and adds TERM on a terminal', () => {
    expect(processEnv({}, 'h')).toEqual([
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'HOSTNAME=h',
    ]);
    expect(processEnv({ Tty: true }, 'h')).toContain('TERM=xterm');
  });

  it('lets the config win, and a bare name take a variable away', () => {
    expect(processEnv({ Env: ['PATH=/x', 'HOSTNAME', 'A=b=c'] }, 'h')).toEqual(['PATH=/x', 'A=b=c']);
  });
});
