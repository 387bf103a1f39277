/** One line of comma-separated fields, with CSV quoting, as `--mount` and `--network` take it. */
import { UsageError } from '../errors.ts';

/**
 * Splits one CSV record: a field in double quotes may contain commas, and `""` is a quote.
 *
 * @throws {UsageError} for a stray or missing quote
 */
export function splitCsv(line: string): string[] {
  const fields: string[] = [];
  let position = 0;
  while (position <= line.length) {
    if (line[position] !== '"') {
      const comma = line.indexOf(',', position);
      const end = comma === -1 ? line.length : comma;
      const field = line.slice(position, end);
      if (field.includes('"')) {
        throw new UsageError(
          `parse error on line 1, column ${position + field.indexOf('"') + 1}: bare " in non-quoted-field`,
        );
      }
      fields.push(field);
      position = end + 1;
      continue;
    }
    const quoted = /"((?:[^"]|"")*)"(?=,|$)/y;
    quoted.lastIndex = position;
    const match = quoted.exec(line);
    if (!match)
      throw new UsageError(
        `parse error on line 1, column ${line.length + 1}: extraneous or missing " in quoted-field`,
      );
    fields.push(match[1]!.replaceAll('""', '"'));
    position = quoted.lastIndex + 1;
  }
  return fields;
}
