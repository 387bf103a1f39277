/** Values of flags such as `--secret id=token,src=file`: fields of CSV, each `name=value`. Pure. */
import { UsageError } from '../errors.ts';

/** The fields, names in lower case; a field without `=` is a name alone, with an empty value. */
export function parseAttributes(text: string): Map<string, string> {
  return new Map(
    csvFields(text).map((field) => {
      const at = field.indexOf('=');
      return at < 0 ? [field.toLowerCase(), ''] : [field.slice(0, at).toLowerCase(), field.slice(at + 1)];
    }),
  );
}

/** Fields of one line of CSV, quoted ones with commas in them. */
export function csvFields(text: string): string[] {
  const fields: string[] = [];
  for (let rest = text; ;) {
    const [whole, quoted, bare] = /^(?:"((?:[^"]|"")*)"|([^,"]*))(?=,|$)/.exec(rest) ?? [];
    if (whole === undefined) throw new UsageError(`a quote is missing, or one too many, in ${text}`);
    fields.push(quoted?.replaceAll('""', '"') ?? bare ?? '');
    if (whole.length === rest.length) return fields;
    rest = rest.slice(whole.length + 1);
  }
}
