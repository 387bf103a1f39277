/** Live bars on a terminal, one a layer, drawn by cli-progress. */
import { MultiBar, type SingleBar } from 'cli-progress';
import type { OutputStream } from './cli.ts';
import { decimalSize } from './format/units.ts';
import type { ProgressMessage, ProgressView } from './progress.ts';

/** A layer's state between messages. */
interface Layer {
  bar: SingleBar;
  status: string;
  current: number;
  total: number;
  rate: Rate;
}

/** Bytes per second over the last few seconds. */
class Rate {
  #since = performance.now();
  #bytes = 0;
  perSecond = 0;

  add(current: number, now: number): void {
    if (current < this.#bytes) {
      // A new phase counts from zero again.
      this.#bytes = current;
      this.#since = now;
      this.perSecond = 0;
      return;
    }
    const seconds = (now - this.#since) / 1000;
    // Shorter spans than this are mostly noise.
    if (seconds < 0.25) return;
    const latest = (current - this.#bytes) / seconds;
    this.perSecond = this.perSecond === 0 ? latest : this.perSecond * 0.7 + latest * 0.3;
    this.#bytes = current;
    this.#since = now;
  }
}

const barColumns = 30;

/** Whether a state is a layer's last. */
function isFinal(status: string): boolean {
  return /^(?:Pull complete|Already exists|Pushed|Layer already exists|Mounted from|Loaded)/.test(status);
}

/** `<id>: <status> [====>    ]  1.2MB/3.4MB  5.6MB/s`, cut to the terminal by cli-progress. */
function render(id: string, layer: Layer): string {
  const { status, current, total, rate } = layer;
  if (current <= 0 && total <= 0) return `${id}: ${status}`;
  const sizes = total > 0 ? `${decimalSize(current)}/${decimalSize(total)}` : decimalSize(current);
  const speed = rate.perSecond > 0 ? `  ${decimalSize(Math.round(rate.perSecond), 3)}/s` : '';
  if (total <= 0) return `${id}: ${status}  ${sizes}${speed}`;
  const filled = Math.min(barColumns, Math.round((current / total) * barColumns));
  const bar = `${'='.repeat(Math.max(0, filled - 1))}${filled > 0 ? '>' : ''}`.padEnd(barColumns);
  return `${id}: ${status.padEnd(11)} [${bar}]  ${sizes}${speed}`;
}

/** Opens the display; disposing it leaves the last state of every layer on the screen. */
export function layerBars(out: OutputStream): ProgressView {
  const layers = new Map<string, Layer>();
  const bars = new MultiBar({
    stream: out,
    fps: 15,
    hideCursor: true,
    clearOnComplete: false,
    stopOnComplete: false,
    forceRedraw: true,
    emptyOnZero: true,
    gracefulExit: false,
    format: (_options, _params, payload: { id: string }) => {
      const layer = layers.get(payload.id);
      return layer ? render(payload.id, layer) : '';
    },
  });

  /** More bars than the screen has rows cannot be redrawn in place, so finished ones scroll away above. */
  const makeRoom = (): void => {
    const rows = (out.rows ?? 24) - 2;
    for (const [id, layer] of layers) {
      if (layers.size < rows) return;
      if (!isFinal(layer.status)) continue;
      bars.log(`${render(id, layer)}\n`);
      bars.remove(layer.bar);
      layers.delete(id);
    }
  };

  const update = (message: ProgressMessage & { id: string }): void => {
    let layer = layers.get(message.id);
    if (!layer) {
      makeRoom();
      const payload = { id: message.id };
      // The bar's own numbers are not shown, `render` has better ones; 1 keeps cli-progress from dividing by zero.
      layer = { bar: bars.create(1, 0, payload), status: '', current: 0, total: 0, rate: new Rate() };
      layers.set(message.id, layer);
    }
    const { current = 0, total = 0 } = message.progressDetail ?? {};
    layer.status = message.status ?? '';
    layer.current = current;
    layer.total = total;
    layer.rate.add(current, performance.now());
  };

  return {
    show(message) {
      const text = message.stream ?? `${message.id ? `${message.id}: ` : ''}${message.status ?? ''}\n`;
      const isLayer = message.id !== undefined && message.progressDetail !== undefined;
      if (isLayer) update({ ...message, id: message.id! });
      else if (layers.size === 0) out.write(text);
      else bars.log(text);
    },
    [Symbol.dispose]() {
      bars.update();
      bars.stop();
    },
  };
}
