/** Elastic columns: aligns tab-separated cells the way Go's text/tabwriter does, which is how Docker's tables look. */

/** How columns are laid out. Widths count Unicode code points, as Go's tabwriter does. */
export interface TabOptions {
  /** Narrowest a column may be, padding included. Default 10. */
  minWidth?: number;
  /** Spaces after the widest cell of a column. Default 3. */
  padding?: number;
}

/**
 * Aligns `text`, whose cells end in `\t` and whose rows end in `\n`.
 *
 * A column is a run of neighbouring rows that all have a *terminated* cell there; text after a row's last tab belongs
 * to no column. A row without tabs therefore ends every column above it.
 */
export function alignTabs(text: string, options: TabOptions = {}): string {
  const minWidth = options.minWidth ?? 10;
  const padding = options.padding ?? 3;
  const rows = text.split('\n').map((line) => line.split('\t'));
  const widths: number[][] = rows.map(() => []);

  const layOut = (from: number, to: number, column: number): void => {
    for (let row = from; row < to; row++) {
      if (!endsInTab(rows[row]!, column)) continue;
      let end = row;
      let width = minWidth;
      for (; end < to && endsInTab(rows[end]!, column); end++) {
        width = Math.max(width, length(rows[end]![column]!) + padding);
      }
      for (let i = row; i < end; i++) widths[i]![column] = width;
      layOut(row, end, column + 1);
      row = end - 1;
    }
  };
  layOut(0, rows.length, 0);

  return rows
    .map((cells, row) =>
      cells
        .map((cell, column) => {
          const width = widths[row]![column];
          return width === undefined ? cell : cell + ' '.repeat(width - length(cell));
        })
        .join(''),
    )
    .join('\n');
}

/** Whether the row has a cell in that column that a tab ends. */
function endsInTab(cells: readonly string[], column: number): boolean {
  return column < cells.length - 1;
}

function length(cell: string): number {
  let count = 0;
  for (const _ of cell) count++;
  return count;
}
