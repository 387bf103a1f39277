/** The dashboard: a page of tabs over what the daemon tells of itself. */
import { render } from 'preact';
import { useState } from 'preact/hooks';
import { objects } from './api.ts';
import { Containers } from './containers.tsx';
import { clock, short } from './format.ts';
import { useApi, useStream } from './hooks.ts';
import { Images } from './images.tsx';
import { Jobs } from './jobs.tsx';
import { Networks } from './networks.tsx';
import type { DaemonEvent, Info } from './types.ts';
import { Volumes } from './volumes.tsx';
import 'uplot/dist/uPlot.min.css';
import './app.css';

const tabs = { Containers, Images, Networks, Volumes, Jobs } as const;
const names = [...Object.keys(tabs), 'Events'] as ('Events' | keyof typeof tabs)[];
const MOST_EVENTS = 200;

function App() {
  const [tab, setTab] = useState<(typeof names)[number]>('Containers');
  const [events, setEvents] = useState<DaemonEvent[]>([]);
  const [connected, setConnected] = useState(true);
  // each event is a reason to look again
  const [version, setVersion] = useState(0);
  const { value: info } = useApi<Info>('/info', 0, 60_000);
  useStream(async (signal) => {
    while (!signal.aborted) {
      try {
        for await (const event of objects<DaemonEvent>('/events', signal)) {
          setConnected(true);
          setEvents((before) => [event, ...before].slice(0, MOST_EVENTS));
          setVersion((before) => before + 1);
        }
      } catch (error) {
        if (signal.aborted) return;
        console.error(error);
      }
      setConnected(false);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }, 'events');
  const Tab = tab === 'Events' ? undefined : tabs[tab];
  return (
    <>
      <header class="top">
        <h1>tare</h1>
        <nav>
          {names.map((name) => (
            <button key={name} class={name === tab ? 'current' : ''} onClick={() => setTab(name)}>
              {name}
            </button>
          ))}
        </nav>
        <span class="dim">
          {info && `${info.Name} · ${info.ServerVersion} · ${info.NCPU} CPUs · Linux ${info.KernelVersion}`}
          {!connected && <b class="error"> the daemon does not answer</b>}
        </span>
      </header>
      <main>{Tab ? <Tab version={version} /> : <Events events={events} />}</main>
    </>
  );
}

function Events({ events }: { events: readonly DaemonEvent[] }) {
  if (events.length === 0) return <p class="none">Nothing has happened since this page was opened.</p>;
  return (
    <table>
      <thead>
        <tr>
          <th>Time</th>
          <th>Type</th>
          <th>Action</th>
          <th>Name</th>
        </tr>
      </thead>
      <tbody>
        {events.map(({ Type, Action, Actor, timeNano }) => (
          <tr key={`${timeNano} ${Actor.ID} ${Action}`}>
            <td>{clock(new Date(timeNano / 1e6))}</td>
            <td>{Type}</td>
            <td>{Action}</td>
            <td>{Actor.Attributes['name'] ?? short(Actor.ID)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

render(<App />, document.getElementById('app')!);
