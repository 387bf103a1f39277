/** A small line plot of one quantity over the last minutes. */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';

/** Times in seconds and values, oldest first. */
export type Series = readonly [times: number[], values: number[]];

/** What is plotted, and how its values are written. */
interface PlotProps {
  label: string;
  series: Series;
  color: string;
  /** Top of the scale; else the largest value. */
  most?: number | undefined;
  write: (value: number) => string;
}

const HEIGHT = 90;

/** Drawn on a canvas as wide as its place. */
export function Plot({ label, series, color, most, write }: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  useEffect(() => {
    const options: uPlot.Options = {
      width: place.current!.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { time: true },
        y: { range: (_self, _min, max) => [0, Math.max(max * 1.1, most ?? 0) || 1] },
      },
      axes: [
        { show: false },
        {
          size: 60,
          font: '11px sans-serif',
          stroke: '#888',
          grid: { stroke: '#8882' },
          ticks: { show: false },
          space: 30,
          values: (_self, ticks) => ticks.map(write),
        },
      ],
      series: [{}, { stroke: color, fill: `${color}22`, width: 1.5, points: { show: false } }],
    };
    plot.current = new uPlot(options, [[], []], place.current!);
    const observer = new ResizeObserver(() =>
      plot.current!.setSize({ width: place.current!.clientWidth, height: HEIGHT }),
    );
    observer.observe(place.current!);
    return () => {
      observer.disconnect();
      plot.current!.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData([series[0], series[1]]), [series]);
  const last = series[1].at(-1);
  return (
    <figure class="plot">
      <figcaption>
        {label} <b>{last === undefined ? '' : write(last)}</b>
      </figcaption>
      <div ref={place} />
    </figure>
  );
}
