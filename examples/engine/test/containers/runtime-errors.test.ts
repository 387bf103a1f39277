import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';

import { containerStartFailure, execStartFailure } from '../../src/containers/runtime-errors.ts';

const execFailed = (name: 'ENOENT' | 'EACCES' | 'EISDIR' | 'ENOEXEC') =>
  Object.assign(new Error('x'), { code: 'EXEC_FAILED', errno: constants.errno[name] });

/** How the stock CLI (v28) makes its own exit code of a failed start. */
function cliExitCode(message: string): number {
  if (/executable file not found|no such file or directory/.test(message)) return 127;
  return /permission denied|is a directory/.test(message) ? 126 : 125;
}

describe('containerStartFailure', () => {
  it.each([
    ['nosuch', 'ENOENT', 'exec: "nosuch": executable file not found in $PATH: unknown', 127],
    ['/no/such', 'ENOENT', 'exec: "/no/such": stat /no/such: no such file or directory: unknown', 127],
    ['/etc', 'EACCES', 'exec: "/etc": permission denied: unknown', 126],
    ['/etc', 'EISDIR', 'exec: "/etc": is a directory: unknown', 126],
  ] as const)('%s with %s', (program, errno, text, exitCode) => {
    const failure = containerStartFailure(execFailed(errno), program);
    expect(failure.error.message).toContain('OCI runtime create failed: ');
    expect(failure.error.message.endsWith(text)).toBe(true);
    expect(failure.exitCode).toBe(exitCode);
    expect(cliExitCode(failure.error.message)).toBe(exitCode);
  });

  it('leaves every other failure an error of the engine', () => {
    const failure = containerStartFailure(new Error('mount /x: EINVAL'), 'sh');
    expect(failure).toMatchObject({ exitCode: 128, error: { code: 'SYSTEM' } });
    expect(cliExitCode(failure.error.message)).toBe(125);
  });
});

describe('execStartFailure', () => {
  it('says what exec says', () => {
    expect(execStartFailure(execFailed('ENOENT'), 'nosuch')).toMatchObject({
      exitCode: 127,
      error: {
        message:
          'OCI runtime exec failed: exec failed: unable to start container process: ' +
          'exec: "nosuch": executable file not found in $PATH: unknown',
      },
    });
    expect(execStartFailure(new Error('boom'), 'x').exitCode).toBe(126);
  });
});
