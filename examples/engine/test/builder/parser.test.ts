import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DockerfileError } from '../../src/builder/dockerfile/errors.ts';
import { parseDockerfile } from '../../src/builder/dockerfile/parser.ts';

const parse = (...lines: string[]) => parseDockerfile(lines.join('\n'));
const first = (...lines: string[]) => parse(...lines).instructions[0]!;

describe('the parser', () => {
  it('takes keywords in any case, blanks before them, comments, empty lines, BOM and CRLF', () => {
    const { instructions } = parseDockerfile(
      '\uFEFF# a comment\r\n\r\n  from  busybox  \r\n# more\r\nRun echo a\r\n',
    );
    expect(instructions.map(({ keyword, args, line }) => [keyword, args, line])).toEqual([
      ['FROM', 'busybox', 3],
      ['RUN', 'echo a', 5],
    ]);
  });

  it('joins lines, and leaves out comments and empty lines between them', () => {
    expect(first('RUN echo a \\', '  # no part of it', '', '  && echo b').args.replace(/\s+/g, ' ')).toBe(
      'echo a && echo b',
    );
    expect(first('# escape=`', 'RUN dir C:\\ `', ' /x').args.replace(/\s+/g, ' ')).toBe('dir C:\\ /x');
  });

  it('knows the directives, which are no comments only at the top', () => {
    const file = parse('# syntax=docker/dockerfile:1', '# escape=`', 'FROM a');
    expect(file).toMatchObject({ syntax: 'docker/dockerfile:1', escape: '`' });
    expect(parse('FROM a', '# escape=`').escape).toBe('\\');
    expect(() => parse('# escape=x', 'FROM a')).toThrow('invalid ESCAPE');
    expect(() => parse('# escape=`', '# escape=`', 'FROM a')).toThrow('only one escape parser directive');
  });

  it('takes flags off the arguments', () => {
    expect(first('COPY --from=base --chown=1:2 --link a b')).toMatchObject({
      flags: [
        { name: 'from', value: 'base' },
        { name: 'chown', value: '1:2' },
        { name: 'link', value: undefined },
      ],
      args: 'a b',
    });
  });

  it('finds the exec form, and takes what only looks like it for a shell form', () => {
    expect(first('CMD ["a", "b c"]').json).toEqual(['a', 'b c']);
    expect(first("CMD ['a']").json).toBeUndefined();
    expect(first('CMD [ -f x ] && y').json).toBeUndefined();
    expect(first('CMD ["a", 1]').json).toBeUndefined();
    expect(first('USER ["a"]').json).toBeUndefined();
  });

  it('reads here-documents, several of one line, quoted or with their tabs taken off', () => {
    const { instructions } = parse(
      'COPY <<one <<-"two" /dst/',
      'text $a',
      'one',
      '\t\tindented $b',
      '\ttwo',
      'RUN <<EOF',
      'echo 1',
      'FROM no instruction',
      'EOF',
      'USER x',
    );
    expect(instructions.map(({ keyword, line }) => `${keyword} ${line}`)).toEqual([
      'COPY 1',
      'RUN 6',
      'USER 10',
    ]);
    expect(instructions[0]!.heredocs).toEqual([
      { name: 'one', content: 'text $a\n', expand: true },
      { name: 'two', content: 'indented $b\n', expand: false },
    ]);
    expect(instructions[1]!.heredocs[0]!.content).toBe('echo 1\nFROM no instruction\n');
  });

  it('names the line of an unknown instruction, and what was meant', () => {
    expect(() => parse('FROM a', '', 'COPPY x y')).toThrow(
      'dockerfile parse error on line 3: unknown instruction: COPPY (did you mean COPY?)',
    );
    expect(() => parse('FROM a', 'frobnicate x')).toThrow(/unknown instruction: frobnicate$/);
  });

  it('reads or refuses any text, and never anything else', () => {
    const line = fc.oneof(
      fc.constantFrom(
        'FROM a',
        'RUN x \\',
        'COPY <<E /',
        'E',
        '# c',
        '',
        'CMD ["a"',
        'ENV a=',
        '\\',
        '--x=y',
      ),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
        try {
          parse(...lines);
        } catch (error) {
          expect(error).toBeInstanceOf(DockerfileError);
        }
      }),
      { numRuns: 300 },
    );
  });
});
