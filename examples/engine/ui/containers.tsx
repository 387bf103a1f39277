/** Containers: each with its processor and memory over the last minutes, and its log. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, logText } from './api.ts';
import { nameOf, short, size } from './format.ts';
import { useApi, useStream } from './hooks.ts';
import { Plot, type Series } from './plot.tsx';
import type { Container, ContainerDetails, Stats } from './types.ts';

/** One answer to the question what a container uses. */
interface Sample {
  time: number;
  cpuPercent: number;
  memory: number;
  limit: number;
}

const EVERY_MS = 2000;
/** Five minutes. */
const MOST_SAMPLES = 150;
const MOST_LOG_CHARACTERS = 50_000;

/** As `stats` of the command line computes them. */
export function sampleOf(now: Stats, before: Stats | undefined): Sample {
  const { cpu_stats: cpu, memory_stats: memory } = now;
  const used = cpu.cpu_usage.total_usage - (before?.cpu_stats.cpu_usage.total_usage ?? Number.NaN);
  const passed = (cpu.system_cpu_usage ?? 0) - (before?.cpu_stats.system_cpu_usage ?? 0);
  const cache = memory.stats?.['inactive_file'] ?? memory.stats?.['total_inactive_file'] ?? 0;
  const percent = passed > 0 ? (used / passed) * (cpu.online_cpus ?? 1) * 100 : 0;
  return {
    time: Date.parse(now.read) / 1000,
    cpuPercent: Number.isFinite(percent) ? Math.max(0, percent) : 0,
    memory: Math.max(0, (memory.usage ?? 0) - cache),
    limit: memory.limit ?? 0,
  };
}

/** The samples of one running container since the page has shown it. */
function useSamples(id: string): Sample[] {
  const [samples, setSamples] = useState<Sample[]>([]);
  useStream(async (signal) => {
    let before: Stats | undefined;
    while (!signal.aborted) {
      const now = await get<Stats>(`/containers/${id}/stats?stream=false&one-shot=true`, signal);
      const previous = before;
      if (previous) setSamples((all) => [...all, sampleOf(now, previous)].slice(-MOST_SAMPLES));
      before = now;
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }, id);
  return samples;
}

function seriesOf(samples: readonly Sample[], value: (sample: Sample) => number): Series {
  return [samples.map(({ time }) => time), samples.map(value)];
}

/** All containers, the running ones first. */
export function Containers({ version }: { version: number }) {
  const { value: containers, error } = useApi<Container[]>('/containers/json?all=1', version);
  const [logs, setLogs] = useState('');
  if (error) return <p class="error">{error}</p>;
  const isRunning = ({ State }: Container): number => Number(State === 'running');
  const sorted = containers?.toSorted((a, b) => isRunning(b) - isRunning(a));
  if (containers?.length === 0) return <p class="none">No containers yet: tare run hello-world</p>;
  return (
    <div class="cards">
      {sorted?.map((container) => (
        <article key={container.Id} class={`card ${container.State}`} data-container={nameOf(container)}>
          <header>
            <h3>{nameOf(container)}</h3>
            <span class={`state ${container.State}`}>{container.Status}</span>
          </header>
          <p class="dim">
            {container.Image} · <code>{container.Command}</code> · {short(container.Id)}
          </p>
          <Ports container={container} />
          {container.State === 'running' && <Usage id={container.Id} />}
          <button onClick={() => setLogs(logs === container.Id ? '' : container.Id)}>Logs</button>
          {logs === container.Id && <Log id={container.Id} />}
        </article>
      ))}
    </div>
  );
}

function Ports({ container }: { container: Container }) {
  const published = container.Ports.filter(({ PublicPort }) => PublicPort !== undefined);
  if (published.length === 0) return null;
  const texts = published.map(
    ({ IP, PublicPort, PrivatePort, Type }) => `${IP ?? ''}:${PublicPort} → ${PrivatePort}/${Type}`,
  );
  return <p class="dim">{[...new Set(texts)].join(', ')}</p>;
}

function Usage({ id }: { id: string }) {
  const samples = useSamples(id);
  return (
    <div class="plots">
      <Plot
        label="CPU"
        color="#3b82f6"
        series={seriesOf(samples, ({ cpuPercent }) => cpuPercent)}
        write={(value) => `${value.toFixed(value < 10 ? 1 : 0)} %`}
      />
      <Plot label="Memory" color="#10b981" series={seriesOf(samples, ({ memory }) => memory)} write={size} />
    </div>
  );
}

function Log({ id }: { id: string }) {
  const [text, setText] = useState('');
  const end = useRef<HTMLPreElement>(null);
  useStream(async (signal) => {
    const { Config } = await get<ContainerDetails>(`/containers/${id}/json`, signal);
    const path = `/containers/${id}/logs?follow=1&stdout=1&stderr=1&tail=200`;
    for await (const part of logText(path, Config.Tty, signal)) {
      setText((before) => (before + part).slice(-MOST_LOG_CHARACTERS));
    }
  }, id);
  useEffect(() => {
    if (end.current) end.current.scrollTop = end.current.scrollHeight;
  }, [text]);
  return (
    <pre class="log" ref={end}>
      {text || '(nothing yet)'}
    </pre>
  );
}
