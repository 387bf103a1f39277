/** Packets of fsutil's protocol. */

/** Kinds of packets. */
export const PACKET = { stat: 0, request: 1, data: 2, end: 3, error: 4 } as const;
