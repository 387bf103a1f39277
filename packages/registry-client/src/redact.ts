/** Keeps secrets out of errors and events. */

const REDACTED = 'REDACTED';

/** Query parameters whose values are no secrets. All others may be, for example the signature of a storage URL. */
const PLAIN_PARAMETERS: ReadonlySet<string> = new Set(
  'digest mount from n last ns scope service tag artifactType digest-algorithm'.split(' '),
);

/** `url` without user and password, and with the values of unknown query parameters replaced. */
export function redactUrl(url: URL | string): string {
  const copy = URL.parse(url.toString());
  if (copy === null) return REDACTED;
  if (copy.username !== '' || copy.password !== '') {
    copy.username = REDACTED;
    copy.password = '';
  }
  copy.hash = '';
  for (const name of new Set(copy.searchParams.keys())) {
    if (!PLAIN_PARAMETERS.has(name)) copy.searchParams.set(name, REDACTED);
  }
  return copy.href;
}

/** `text` on one line, of bounded length, with every one of `secrets` replaced. */
export function scrub(text: string, secrets: readonly string[]): string {
  let clean = text;
  // short words would turn the whole message into noise, and are no secrets worth the name
  for (const secret of secrets) if (secret.length >= 4) clean = clean.replaceAll(secret, REDACTED);
  // a server's text must not be able to drive a terminal
  // oxlint-disable-next-line no-control-regex
  clean = clean.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
  return clean.length > 2_000 ? `${clean.slice(0, 2_000)}…` : clean;
}
