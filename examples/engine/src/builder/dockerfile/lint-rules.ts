/** The rules of BuildKit's linter: what is allowed in a Dockerfile and probably not meant. */

/** One rule. */
export interface LintRule {
  readonly name: string;
  /** What is wrong with those who break it. */
  readonly description: string;
  readonly url: string;
}

const DESCRIPTIONS = {
  StageNameCasing: 'Stage names should be lowercase',
  FromAsCasing: "The 'as' keyword should match the case of the 'from' keyword",
  NoEmptyContinuation: 'Empty continuation lines will become errors in a future release',
  ConsistentInstructionCasing:
    'All commands within the Dockerfile should use the same casing (either upper or lower)',
  DuplicateStageName: 'Stage names should be unique',
  ReservedStageName: 'Reserved words should not be used as stage names',
  JSONArgsRecommended:
    'JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals',
  MaintainerDeprecated:
    'The MAINTAINER instruction is deprecated, use a label instead to define an image author',
  UndefinedArgInFrom: 'FROM command must use declared ARGs',
  WorkdirRelativePath:
    'Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes',
  UndefinedVar: 'Variables should be defined before their use',
  MultipleInstructionsDisallowed:
    'Multiple instructions of the same type should not be used in the same stage',
  LegacyKeyValueFormat: 'Legacy key/value format with whitespace separator should not be used',
  InvalidBaseImagePlatform: 'Base image platform does not match expected target platform',
  RedundantTargetPlatform:
    'Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior',
  SecretsUsedInArgOrEnv: 'Sensitive data should not be used in the ARG or ENV commands',
  InvalidDefaultArgInFrom: 'Default value for global ARG results in an empty or invalid base image name',
  FromPlatformFlagConstDisallowed: 'FROM --platform flag should not use a constant value',
  CopyIgnoredFile: 'Attempting to Copy file that is excluded by .dockerignore',
  ExposeProtoCasing: 'Protocol in EXPOSE instruction should be lowercase',
  ExposeInvalidFormat:
    'IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release',
} as const;

/** The name of a rule. */
export type RuleName = keyof typeof DESCRIPTIONS;

/** @returns the rule of that name */
export function lintRule(name: RuleName): LintRule {
  const kebab = name.replaceAll(/(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, '-').toLowerCase();
  return {
    name,
    description: DESCRIPTIONS[name],
    url: `https://docs.docker.com/go/dockerfile/rule/${kebab}/`,
  };
}

/** What `# check=` says. */
export interface LintSettings {
  /** Names of rules, lower case; true for all. */
  skip: ReadonlySet<string> | true;
  /** A build that breaks a rule fails. */
  error: boolean;
}

/** Reads `skip=A,B;error=true`. @throws {TypeError} for anything else, with a complete message */
export function parseLintSettings(text: string | undefined): LintSettings {
  const settings: LintSettings = { skip: new Set(), error: false };
  for (const part of (text ?? '').split(';')) {
    if (part.trim() === '') continue;
    const [, name = '', value = ''] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(part) ?? [];
    if (name === 'skip') {
      settings.skip =
        value === 'all' ? true : new Set(value.split(',').map((rule) => rule.trim().toLowerCase()));
    } else if (name === 'error' && /^(?:true|false)$/i.test(value))
      settings.error = value.toLowerCase() === 'true';
    // rules that are asked for by name are on here, or not there
    else if (name !== 'experimental') {
      throw new TypeError(`invalid check option ${JSON.stringify(part)}: skip=…, error=true or error=false`);
    }
  }
  return settings;
}
