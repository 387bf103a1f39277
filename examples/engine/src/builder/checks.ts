/** What is known of a build before it runs: its plan, and what its author probably did not mean. */
import { formatPlatform, platformOfProcess, type Platform } from '@tare/image-spec';

import { invalid } from '../errors.ts';
import type { BuildRequest } from './request.ts';
import type { Bases } from './seams.ts';
import { DockerfileError } from './dockerfile/errors.ts';
import { excerpt } from './dockerfile/excerpt.ts';
import { lint, type LintWarning } from './dockerfile/lint.ts';
import { parseLintSettings, type LintSettings } from './dockerfile/lint-rules.ts';
import { parseDockerfile, type DockerfileText } from './dockerfile/parser.ts';
import { planStages, type BuildPlan } from './dockerfile/stages.ts';
import { platformArgs } from './stage-run.ts';

/** A Dockerfile that can be built. */
export interface PlannedBuild {
  file: DockerfileText;
  plan: BuildPlan;
  platform: Platform;
  /** Arguments that every build has. */
  platformArgs: Readonly<Record<string, string>>;
  settings: LintSettings;
}

type Planned = Pick<BuildRequest, 'dockerfile' | 'buildArgs' | 'platform' | 'target'>;

/** Reads a Dockerfile. @throws {DockerfileError} @throws {EngineError} `INVALID` for a syntax that is not built in */
export function planBuild({ dockerfile, buildArgs, platform: given, target }: Planned): PlannedBuild {
  const file = parseDockerfile(dockerfile);
  if (
    file.syntax !== undefined &&
    !/^docker(?:\.io\/docker)?\/dockerfile(?:-upstream)?(?::|@|$)/.test(file.syntax)
  ) {
    throw invalid(`the syntax ${file.syntax} is not built in; docker/dockerfile is`);
  }
  const own = platformOfProcess(process);
  const platform = given ?? own;
  const args = platformArgs(platform, own);
  const plan = planStages(file, { buildArgs, platformArgs: args, target });
  return { file, plan, platform, platformArgs: args, settings: settingsOf(file, buildArgs) };
}

function settingsOf({ check }: DockerfileText, buildArgs: BuildRequest['buildArgs']): LintSettings {
  try {
    return parseLintSettings(buildArgs['BUILDKIT_DOCKERFILE_CHECK'] ?? check);
  } catch (error) {
    throw new DockerfileError((error as Error).message, undefined, { cause: error });
  }
}

/** Everything in the Dockerfile that breaks a rule. Images that are not here are not asked for. */
export async function lintBuild(
  bases: Pick<Bases, 'local'>,
  request: Pick<BuildRequest, 'buildArgs' | 'ignores'>,
  planned: PlannedBuild,
): Promise<LintWarning[]> {
  const { ignores, buildArgs } = request;
  return lint({
    ...planned,
    buildArgs,
    ignores: await ignores?.(),
    baseVariables: (reference) => {
      const config = bases.local(reference);
      return config && (config.config?.Env ?? []).map((entry) => entry.split('=', 1)[0]!);
    },
  });
}

/** For a build that may break no rule. @throws {DockerfileError} when it does */
export function requireClean({ settings }: PlannedBuild, warnings: readonly LintWarning[]): void {
  if (!settings.error || warnings.length === 0) return;
  const names = [...new Set(warnings.map(({ rule }) => rule.name))].sort();
  throw new DockerfileError(`lint violation found for rules: ${names.join(', ')}`, undefined);
}

/** A warning in one line. */
export function shortWarning({ rule, detail, place }: LintWarning): string {
  return `${rule.name}: ${detail}${place === undefined ? '' : ` (line ${place.line})`}`;
}

/** Warnings as a text with the lines that they are about. */
export function warningsText(warnings: readonly LintWarning[], name: string, dockerfile: string): string {
  return warnings
    .map(({ rule, detail, place }) => {
      const lines = place === undefined ? '' : `${excerpt(name, dockerfile, place)}\n`;
      return `\nWARNING: ${rule.name} - ${rule.url}\n${detail}\n${lines}`;
    })
    .join('');
}

/** The warning of a base image that is not of the platform that was asked for; undefined when it is. */
export function platformMismatch(
  reference: string,
  actual: Platform,
  expected: Platform,
): string | undefined {
  const [is, should] = [formatPlatform(actual), formatPlatform(expected)];
  if (actual.os === expected.os && actual.architecture === expected.architecture) return undefined;
  return `Base image ${reference} was pulled with platform "${is}", expected "${should}" for current build`;
}
