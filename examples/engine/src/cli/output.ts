/** Listings: tables, JSON lines and templates from one description of the columns. */
import type { Cli } from './cli.ts';
import { CliError, messageOf } from './errors.ts';
import { compileTemplate, headerFunctions } from './format/go-template.ts';
import { escapeHtml, jsonText, stringifyJson } from './format/json-text.ts';
import { alignTabs } from './format/tabwriter.ts';

/** One field of a listing: its heading, and its text for a row. */
export interface Column<Row> {
  header: string;
  value(row: Row): unknown;
}

/** A listing's columns by the name templates use, such as `ID`. */
export interface Listing<Row> {
  columns: Readonly<Record<string, Column<Row>>>;
  /** Methods for templates that take arguments, such as `{{.Label "key"}}`; not part of `--format json`. */
  methods?: Readonly<Record<string, (row: Row, ...args: unknown[]) => unknown>>;
  /** What `table` alone means: a template without the prefix. */
  table: string;
  /** Name of Docker's Go type of a row, for errors about unknown fields. */
  typeName: string;
}

/**
 * Renders rows: `table` (aligned columns under headings), `table TEMPLATE`, `json` (one object a line), or a template
 * applied to each row.
 *
 * @throws {CliError} when the template cannot be parsed or names an unknown field
 */
export function renderListing<Row>(listing: Listing<Row>, format: string, rows: readonly Row[]): string {
  const isTable = format === '' || format === 'table' || /^table\s/.test(format);
  const source = templateOf(listing, format);
  try {
    const template = compileTemplate(source, { typeName: listing.typeName });
    const body = rows.map((row) => `${template.execute(record(listing, row))}\n`).join('');
    if (!isTable) return body;
    const header = compileTemplate(source, { missingKey: 'zero', overrides: headerFunctions });
    const headings: Record<string, unknown> = {};
    for (const [name, column] of Object.entries(listing.columns)) headings[name] = column.header;
    for (const name of Object.keys(listing.methods ?? {}))
      headings[name] = (text: unknown) => labelHeading(text);
    return alignTabs(`${header.execute(headings)}\n${body}`);
  } catch (cause) {
    throw new CliError(`template parsing error: ${messageOf(cause)}`, { cause });
  }
}

function templateOf<Row>(listing: Listing<Row>, format: string): string {
  if (format === '' || format === 'table') return listing.table;
  if (format === 'json') return '{{json .}}';
  const source = /^table\s/.test(format) ? format.slice('table'.length) : format;
  return source
    .replace(/^ +| +$/g, '')
    .replaceAll('\\t', '\t')
    .replaceAll('\\n', '\n');
}

/** A column that shows one label is headed by the label's last word. */
function labelHeading(label: unknown): string {
  return String(label).split('.').at(-1)!.replace(/[-_]/g, ' ');
}

/** The row as templates see it. Fields are computed when they are read. */
function record<Row>(listing: Listing<Row>, row: Row): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const name of Object.keys(listing.columns).sort()) {
    Object.defineProperty(fields, name, { enumerable: true, get: () => listing.columns[name]!.value(row) });
  }
  for (const [name, method] of Object.entries(listing.methods ?? {})) {
    Object.defineProperty(fields, name, { value: (...args: unknown[]) => method(row, ...args) });
  }
  // Go marshals a row as a whole with HTML escaping on: `{{json .}}` has \u003e where `{{json .Ports}}` has `>`.
  Object.defineProperty(fields, jsonText, { value: () => escapeHtml(stringifyJson({ ...fields })) });
  return fields;
}

/** Where a row keeps its own JSON rendering, for `{{json .}}`. */

/** Prints a listing, honouring `--quiet`: only `idOf` each row, unless a format was given as well. */
export function printListing<Row>(
  cli: Cli,
  listing: Listing<Row>,
  rows: readonly Row[],
  options: { format: string; quiet?: boolean; idOf?: (row: Row) => string },
): void {
  const { idOf } = options;
  const plain = options.format === '' || options.format === 'table';
  const text =
    options.quiet && plain && idOf
      ? rows.map((row) => `${idOf(row)}\n`).join('')
      : renderListing(listing, options.format, rows);
  cli.stdout.write(text);
}
