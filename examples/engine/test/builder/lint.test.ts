import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { excerpt } from '../../src/builder/dockerfile/excerpt.ts';
import { lint, type LintInput } from '../../src/builder/dockerfile/lint.ts';
import { lintRule, parseLintSettings } from '../../src/builder/dockerfile/lint-rules.ts';
import { parseDockerfile } from '../../src/builder/dockerfile/parser.ts';
import { planStages } from '../../src/builder/dockerfile/stages.ts';

const PLATFORM = { TARGETPLATFORM: 'linux/amd64', BUILDPLATFORM: 'linux/amd64', TARGETARCH: 'amd64' };

function warnings(text: string, options: Partial<LintInput> = {}) {
  const file = parseDockerfile(text);
  const buildArgs = options.buildArgs ?? {};
  const plan = planStages(file, { buildArgs, platformArgs: PLATFORM, target: '' });
  return lint({
    file,
    plan,
    buildArgs,
    settings: parseLintSettings(file.check),
    platformArgs: PLATFORM,
    baseVariables: () => ['BASE'],
    ...options,
  });
}
const found = (text: string, options?: Partial<LintInput>): string[] =>
  warnings(text, options).map(({ rule, detail, place }) => `${place?.line} ${rule.name}: ${detail}`);

describe('the linter', () => {
  it.each([
    ['FROM a AS Base', "1 StageNameCasing: Stage name 'Base' should be lowercase"],
    ['FROM a as b', "1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"],
    ['FROM a\nRUN a \\\n\n  b', '2 NoEmptyContinuation: Empty continuation line'],
    [
      'FROM a\nRun b\nRUN c',
      "2 ConsistentInstructionCasing: Command 'Run' should match the case of the command majority (uppercase)",
    ],
    [
      'from a\nrun b\nRUN c',
      "3 ConsistentInstructionCasing: Command 'RUN' should match the case of the command majority (lowercase)",
    ],
    [
      'FROM a AS b\nFROM a AS b',
      '2 DuplicateStageName: Duplicate stage name "b", stage names should be unique',
    ],
    [
      'FROM a AS context',
      '1 ReservedStageName: Stage name should not use the same name as reserved stage "context"',
    ],
    [
      'FROM a\nCMD b',
      '2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals',
    ],
    [
      'FROM a\nMAINTAINER me',
      '2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label',
    ],
    [
      'ARG VERSION=1\nFROM a:${VERSOIN:-2}${VERSOIN}',
      "2 UndefinedArgInFrom: FROM argument 'VERSOIN' is not declared (did you mean VERSION?)",
    ],
    [
      'FROM a\nWORKDIR b\nWORKDIR /c\nWORKDIR d',
      '2 WorkdirRelativePath: Relative workdir "b" can have unexpected results if the base image changes',
    ],
    ['FROM a\nCOPY $dri /b', "2 UndefinedVar: Usage of undefined variable '$dri'"],
    [
      'FROM a\nARG name=1\nLABEL x=$nam',
      "3 UndefinedVar: Usage of undefined variable '$nam' (did you mean $name?)",
    ],
    [
      'FROM a\nENTRYPOINT ["b"]\nENTRYPOINT ["c"]',
      '2 MultipleInstructionsDisallowed: Multiple ENTRYPOINT instructions should not be used in the same stage because only the last one will be used',
    ],
    [
      'FROM a\nENV b c',
      '2 LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format',
    ],
    [
      'FROM --platform=$TARGETPLATFORM a',
      '1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior',
    ],
    [
      'FROM --platform=linux/amd64 a',
      '1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64"',
    ],
    [
      'FROM a\nARG MY_SECRET\nENV PUBLIC_KEY=1',
      '2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "MY_SECRET")',
    ],
    [
      'FROM a\nEXPOSE 80/TCP',
      "2 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
    ],
    [
      'FROM a\nEXPOSE 80:80',
      "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '80:80'",
    ],
  ])('%j', (text, warning) => {
    expect(found(text)).toEqual([warning]);
  });

  it('knows default arguments that give no image', () => {
    expect(found('ARG T\nFROM a:$T', { buildArgs: { T: '1' } })).toEqual([
      '2 InvalidDefaultArgInFrom: Default value for ARG a:$T results in empty or invalid base image name',
    ]);
    expect(found('ARG T=1\nFROM a:$T')).toEqual([]);
  });

  it('knows files that never come', () => {
    const ignores = (path: string): boolean => path === 'left/out';
    expect(found('FROM a\nCOPY ./left/out in /\nCOPY --from=b left/out /', { ignores })).toEqual([
      '2 CopyIgnoredFile: Attempting to Copy file "./left/out" that is excluded by .dockerignore',
    ]);
  });

  it.each([
    'FROM a AS b\nFROM b\nCMD ["x"]',
    'from a as b\ncmd ["x"]',
    'FROM a\nSHELL ["/x"]\nCMD y',
    'FROM a\nLABEL x=$BASE$PATH',
    'FROM a\nARG x y=$x\nENV z=${x:-$y} w="${u:-1}"',
    'FROM a\nRUN echo $anything\nCMD ["$anything"]',
    'FROM a AS b\nARG x=1\nFROM b\nLABEL y=$x',
    'FROM a AS b\nWORKDIR /x\nFROM b\nWORKDIR y',
    'FROM --platform=$BUILDPLATFORM a AS b\nFROM scratch\nCOPY --from=b / /',
    'FROM --platform=linux/arm64 a AS build-arm64\nFROM a',
    'FROM a\nCMD ["x"]\nFROM a\nCMD ["x"]',
    'FROM a\nRUN <<E\nx\n\ny\nE',
    'FROM a\nENV x=1 y=2',
  ])('has nothing to say of %j', (text) => {
    expect(found(text)).toEqual([]);
  });

  it('says nothing of variables where the base image is not known', () => {
    expect(found('FROM a\nLABEL x=$unknown', { baseVariables: () => undefined })).toEqual([]);
  });

  it('leaves rules out that the file says', () => {
    const text = 'FROM a\nMAINTAINER me\nCMD b';
    expect(found(`# check=skip=MaintainerDeprecated\n${text}`)).toHaveLength(1);
    expect(found(`# check=skip=jsonargsrecommended, maintainerdeprecated;error=true\n${text}`)).toEqual([]);
    expect(found(`# check=skip=all\n${text}`)).toEqual([]);
    expect(parseLintSettings('error=true').error).toBe(true);
    expect(() => parseLintSettings('nonsense')).toThrow('invalid check option');
  });

  it('has an address for each rule', () => {
    expect(lintRule('JSONArgsRecommended').url).toBe(
      'https://docs.docker.com/go/dockerfile/rule/json-args-recommended/',
    );
    expect(lintRule('FromPlatformFlagConstDisallowed').url).toContain(
      '/from-platform-flag-const-disallowed/',
    );
  });

  it('survives every file that can be planned', () => {
    const word = fc.constantFrom(
      'FROM a',
      'ARG $x',
      'ENV a',
      'ENV a=${b',
      'EXPOSE $a:b/C',
      'COPY $x',
      'WORKDIR $',
      'CMD',
      'LABEL "',
      'onbuild RUN x',
      'RUN x \\',
      '',
      '# x',
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 8 }), (lines) => {
        let file: ReturnType<typeof parseDockerfile>;
        try {
          file = parseDockerfile(['FROM a', ...lines].join('\n'));
          planStages(file, { buildArgs: {}, platformArgs: PLATFORM, target: '' });
        } catch {
          return;
        }
        found(['FROM a', ...lines].join('\n'));
      }),
    );
  });
});

describe('an excerpt', () => {
  it('has the lines around an instruction, its own with an arrow', () => {
    const text = Array.from({ length: 9 }, (_, i) => `line ${i + 1}`).join('\n');
    expect(excerpt('Dockerfile', text, { line: 5, source: 'line 5\nline 6' })).toBe(
      [
        'Dockerfile:5',
        '--------------------',
        '   2 |     line 2',
        '   3 |     line 3',
        '   4 |     line 4',
        '   5 | >>> line 5',
        '   6 | >>> line 6',
        '   7 |     line 7',
        '   8 |     line 8',
        '   9 |     line 9',
        '--------------------',
        '',
      ].join('\n'),
    );
  });
});
