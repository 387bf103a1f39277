/** `GET /metrics`: for Prometheus, beyond Docker's API. */
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Route } from '../route.ts';

/** The end-point. */
export function metricsRoutes(metrics: Pick<Metrics, 'render'>): Route[] {
  return [
    {
      method: 'GET',
      path: '/metrics',
      handler: async (context) => {
        const { contentType, text } = await metrics.render();
        context.send(200, contentType, text);
      },
    },
  ];
}
