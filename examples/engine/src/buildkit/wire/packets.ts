/** Packets of fsutil's protocol. */

/**
 * Kinds of packets. The last two are our own: in place of a listing, that it is the one whose digest the receiver named; and
 * many packets in one.
 */
export const PACKET = { stat: 0, request: 1, data: 2, end: 3, error: 4, unchanged: 100, batch: 101 } as const;

/** Field of a request with the digest of the listing that the receiver has. Senders that do not know it send everything. */
export const LISTING_FIELD = 'tare-listing';

/** Field of a request whose sender can take batches. Others do not know it. */
export const BATCHES_FIELD = 'tare-batches';
