/**
 * `trust`: the commands of Docker Content Trust, for scripts that name them. The notary service behind it is gone from
 * the registries and the commands from Docker 29 on, so each says what takes their place.
 */
import { defineCommand } from '../command.ts';
import { CliError } from '../errors.ts';
import { list, string, toggle, type FlagSet } from '../flags.ts';

function retired<const F extends FlagSet>(
  usage: string,
  summary: string,
  args: { min: number; max?: number },
  flags: F,
) {
  return defineCommand({
    usage,
    summary,
    args,
    flags,
    async run() {
      throw new CliError(
        'Docker Content Trust is not available: its notary servers are retired, and Docker 29 has removed the command. Sign with cosign or notation instead; tare pull and tare push leave their signatures beside the image',
      );
    },
  });
}

/** `trust inspect`. */
export const inspect = retired(
  'IMAGE[:TAG] [IMAGE[:TAG]...]',
  'Return low-level information about keys and signatures',
  { min: 1, max: Infinity },
  { pretty: toggle('Print the information in a human friendly format') },
);
/** `trust revoke`. */
export const revoke = retired(
  '[OPTIONS] IMAGE[:TAG]',
  'Remove trust for an image',
  { min: 1 },
  { yes: toggle('Do not prompt for confirmation', { short: 'y' }) },
);
/** `trust sign`. */
export const sign = retired(
  'IMAGE:TAG',
  'Sign an image',
  { min: 1 },
  { local: toggle('Sign a locally tagged image') },
);
/** `trust key generate`. */
export const keyGenerate = retired(
  'NAME',
  'Generate and load a signing key-pair',
  { min: 1 },
  { dir: string('Directory to generate key in, defaults to current directory') },
);
/** `trust key load`. */
export const keyLoad = retired(
  '[OPTIONS] KEYFILE',
  'Load a private key file for signing',
  { min: 1 },
  { name: string('Name for the loaded key', { initial: 'signer' }) },
);
/** `trust signer add`. */
export const signerAdd = retired(
  'OPTIONS NAME REPOSITORY [REPOSITORY...] ',
  'Add a signer',
  { min: 2, max: Infinity },
  { key: list("Path to the signer's public key file") },
);
/** `trust signer remove`. */
export const signerRemove = retired(
  '[OPTIONS] NAME REPOSITORY [REPOSITORY...]',
  'Remove a signer',
  { min: 2, max: Infinity },
  { force: toggle('Do not prompt for confirmation before removing the most recent signer', { short: 'f' }) },
);
