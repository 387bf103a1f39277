/** Volumes, and who uses them. */
import { nameOf } from './format.ts';
import { useApi } from './hooks.ts';
import type { Container, Volume } from './types.ts';

/** All volumes. */
export function Volumes({ version }: { version: number }) {
  const volumes = useApi<{ Volumes: Volume[] | null }>('/volumes', version);
  const containers = useApi<Container[]>('/containers/json?all=1', version);
  const error = volumes.error || containers.error;
  if (error) return <p class="error">{error}</p>;
  const users = (name: string): string =>
    (containers.value ?? [])
      .filter(({ Mounts }) => Mounts.some((mount) => mount.Name === name))
      .map(nameOf)
      .join(', ');
  return (
    <table>
      <thead>
        <tr>
          <th>Name</th>
          <th>Driver</th>
          <th>Created</th>
          <th>Used by</th>
          <th>Place</th>
        </tr>
      </thead>
      <tbody>
        {volumes.value?.Volumes?.map(({ Name, Driver, CreatedAt, Mountpoint }) => (
          <tr key={Name}>
            <td>{Name}</td>
            <td>{Driver}</td>
            <td>{CreatedAt?.slice(0, 10)}</td>
            <td>{users(Name) || <span class="dim">nobody</span>}</td>
            <td>
              <code>{Mountpoint}</code>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
