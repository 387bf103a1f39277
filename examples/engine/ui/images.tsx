/** Images and the layers that they are made of. */
import { useState } from 'preact/hooks';
import { day, short, size } from './format.ts';
import { useApi } from './hooks.ts';
import type { Image, ImageLayer } from './types.ts';

/** All images; one opened shows its layers. */
export function Images({ version }: { version: number }) {
  const { value: images, error } = useApi<Image[]>('/images/json?shared-size=1', version);
  const [open, setOpen] = useState('');
  if (error) return <p class="error">{error}</p>;
  return (
    <table>
      <thead>
        <tr>
          <th>Name</th>
          <th>ID</th>
          <th>Created</th>
          <th class="number">Size</th>
        </tr>
      </thead>
      <tbody>
        {images?.flatMap((image) => [
          <tr key={image.Id} class="link" onClick={() => setOpen(open === image.Id ? '' : image.Id)}>
            <td>{image.RepoTags?.join(', ') || '<none>'}</td>
            <td>
              <code>{short(image.Id)}</code>
            </td>
            <td>{day(image.Created)}</td>
            <td class="number">{size(image.Size)}</td>
          </tr>,
          open === image.Id && (
            <tr key={`${image.Id} layers`}>
              <td colSpan={4}>
                <Layers id={image.Id} />
              </td>
            </tr>
          ),
        ])}
      </tbody>
    </table>
  );
}

/** Oldest below, as they are stacked; as wide as they are large. */
function Layers({ id }: { id: string }) {
  const { value: layers } = useApi<ImageLayer[]>(`/images/${id}/history`, 0, 60_000);
  const most = Math.max(1, ...(layers ?? []).map(({ Size }) => Size));
  return (
    <ol class="layers">
      {layers?.map((layer, index) => (
        <li key={index}>
          <span class="bar" style={{ width: `${Math.max(0.5, (layer.Size / most) * 100)}%` }} />
          <span class="number">{size(layer.Size)}</span>
          <code>{layer.CreatedBy || layer.Comment}</code>
        </li>
      ))}
    </ol>
  );
}
