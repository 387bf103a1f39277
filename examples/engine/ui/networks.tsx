/** Networks drawn as a graph: networks on the left, the containers attached to them on the right. */
import { nameOf } from './format.ts';
import { useApi } from './hooks.ts';
import type { Container, Network } from './types.ts';

const ROW = 56;
const BOX = { width: 240, height: 40 };
const LEFT = 20;
const RIGHT = 520;

/** The graph. Networks that nobody uses are there as well. */
export function Networks({ version }: { version: number }) {
  const networks = useApi<Network[]>('/networks', version);
  const containers = useApi<Container[]>('/containers/json?all=1', version);
  const error = networks.error || containers.error;
  if (error) return <p class="error">{error}</p>;
  const left = networks.value ?? [];
  const right = (containers.value ?? []).filter(
    ({ NetworkSettings }) => Object.keys(NetworkSettings.Networks).length > 0,
  );
  const height = Math.max(left.length, right.length, 1) * ROW + 20;
  const y = (index: number): number => 20 + index * ROW;
  const edges = right.flatMap((container, to) =>
    Object.entries(container.NetworkSettings.Networks).map(([name, endpoint]) => ({
      from: left.findIndex((network) => network.Name === name),
      to,
      address: endpoint.IPAddress,
      key: `${container.Id} ${name}`,
    })),
  );
  return (
    <svg
      class="graph"
      viewBox={`0 0 ${RIGHT + BOX.width + 20} ${height}`}
      role="img"
      aria-label="networks and containers"
    >
      {edges
        .filter(({ from }) => from >= 0)
        .map(({ from, to, address, key }) => {
          const start = { x: LEFT + BOX.width, y: y(from) + BOX.height / 2 };
          const end = { x: RIGHT, y: y(to) + BOX.height / 2 };
          const middle = (start.x + end.x) / 2;
          return (
            <g key={key}>
              <path
                class="edge"
                d={`M${start.x} ${start.y} C${middle} ${start.y} ${middle} ${end.y} ${end.x} ${end.y}`}
              />
              <text class="address" x={middle} y={(start.y + end.y) / 2 - 5} text-anchor="middle">
                {address}
              </text>
            </g>
          );
        })}
      {left.map((network, index) => (
        <Box
          key={network.Id}
          kind="network"
          x={LEFT}
          y={y(index)}
          title={network.Name}
          detail={[network.Driver, network.IPAM.Config?.[0]?.Subnet, network.Internal && 'internal']
            .filter(Boolean)
            .join(' · ')}
        />
      ))}
      {right.map((container, index) => (
        <Box
          key={container.Id}
          kind={`container ${container.State}`}
          x={RIGHT}
          y={y(index)}
          title={nameOf(container)}
          detail={container.Status}
        />
      ))}
    </svg>
  );
}

function Box(props: { kind: string; x: number; y: number; title: string; detail: string }) {
  return (
    <g class={`box ${props.kind}`} transform={`translate(${props.x} ${props.y})`}>
      <rect width={BOX.width} height={BOX.height} rx={6} />
      <text x={10} y={17}>
        {props.title}
      </text>
      <text class="dim" x={10} y={32}>
        {props.detail}
      </text>
    </g>
  );
}
