/** Live bars on a terminal, one a layer, drawn by cli-progress. */
import { MultiBar, type SingleBar } from 'cli-progress';
import type { OutputStream } from './cli.ts';
import { decimalSize, ellipsis } from './format/units.ts';
import type { ProgressMessage, ProgressView } from './progress.ts';
import { Rate } from './rate.ts';
import { screenOf } from './screen.ts';

/** What a layer's row shows. */
export interface LayerState {
  status: string;
  current: number;
  total: number;
  rate: Rate;
}

/** A layer's state between messages. */
interface Layer extends LayerState {
  /** Undefined while the screen has no row for it, or when its last state has scrolled away. */
  bar: SingleBar | undefined;
  /** Its last state is on the screen for good. */
  settled: boolean;
}

const barColumns = 30;
/** A shorter bar says nothing. */
const leastBarColumns = 6;

/** Whether a state is a layer's last. */
function isFinal(status: string): boolean {
  return /^(?:Pull complete|Already exists|Pushed|Layer already exists|Mounted from|Loaded)/.test(status);
}

/**
 * `<id>: <status> [====>    ]  1.2MB/3.4MB  5.6MB/s  2s left` in at most `columns`; the bar makes room first, then it is
 * left out, then the line is cut.
 */
export function renderLayer(id: string, layer: LayerState, columns: number): string {
  const { status, current, total, rate } = layer;
  if (current <= 0 && total <= 0) return ellipsis(`${id}: ${status}`, columns);
  const sizes = total > 0 ? `${decimalSize(current)}/${decimalSize(total)}` : decimalSize(current);
  const figures = [sizes, ...rate.figures(current, total)].join('  ');
  const head = `${id}: ${status.padEnd(11)}`;
  const room = Math.min(barColumns, columns - head.length - figures.length - ' []  '.length);
  if (total <= 0 || room < leastBarColumns) return ellipsis(`${head}  ${figures}`, columns);
  const filled = Math.min(room, Math.round((current / total) * room));
  const bar = `${'='.repeat(Math.max(0, filled - 1))}${filled > 0 ? '>' : ''}`.padEnd(room);
  return `${head} [${bar}]  ${figures}`;
}

/** Opens the display; disposing it leaves the last state of every layer on the screen. */
export function layerBars(out: OutputStream): ProgressView {
  const layers = new Map<string, Layer>();
  /** What follows the layers (the digest, the status) belongs below them. */
  let trailer = '';
  let rowsInUse = 0;

  const bars = new MultiBar({
    stream: out,
    fps: 15,
    // The terminal is left as it is: a pull may be interrupted at any moment, with nobody there to repair it.
    hideCursor: false,
    linewrap: true,
    clearOnComplete: false,
    stopOnComplete: false,
    forceRedraw: true,
    emptyOnZero: true,
    gracefulExit: false,
    format: (_options, _params, payload: { id: string }) => {
      const layer = layers.get(payload.id);
      // A line that wrapped would spoil the count of rows to go up for the next frame.
      return layer ? renderLayer(payload.id, layer, screenOf(out).columns - 1) : '';
    },
  });

  /** Lets a finished layer scroll away above the others. */
  const retire = (id: string, layer: Layer): void => {
    if (!layer.bar) return;
    bars.log(`${renderLayer(id, layer, screenOf(out).columns - 1)}\n`);
    bars.remove(layer.bar);
    layer.bar = undefined;
    rowsInUse--;
  };

  /** Whether there is a row for one more bar. More than fit on the screen could not be redrawn in place. */
  const findRow = (): boolean => {
    const rows = screenOf(out).rows - 2;
    for (const [id, layer] of layers) {
      if (rowsInUse < rows) break;
      if (isFinal(layer.status)) retire(id, layer);
    }
    return rowsInUse < rows;
  };

  const update = (id: string, message: ProgressMessage): void => {
    let layer = layers.get(id);
    if (!layer) {
      layer = { bar: undefined, status: '', current: 0, total: 0, rate: new Rate(), settled: false };
      layers.set(id, layer);
    }
    const { current = 0, total = 0 } = message.progressDetail ?? {};
    layer.status = message.status ?? '';
    layer.current = current;
    layer.total = total;
    layer.rate.add(current, performance.now());
    if (layer.bar || layer.settled) return;
    if (findRow()) {
      // The bar's own numbers are not shown, `render` has better ones; 1 keeps cli-progress from dividing by zero.
      layer.bar = bars.create(1, 0, { id });
      rowsInUse++;
    } else if (isFinal(layer.status)) bars.log(`${renderLayer(id, layer, screenOf(out).columns - 1)}\n`);
    layer.settled = isFinal(layer.status);
  };

  return {
    show(message) {
      const { id, progressDetail } = message;
      const text = message.stream ?? `${id ? `${id}: ` : ''}${message.status ?? ''}\n`;
      if (id !== undefined && progressDetail) update(id, message);
      else if (layers.size === 0) out.write(text);
      else trailer += text;
    },
    [Symbol.dispose]() {
      if (layers.size > 0) {
        bars.update();
        bars.stop();
      }
      out.write(trailer);
    },
  };
}
