/* One client of the monitor, as clients.c and requests.c share it. */
#pragma once

#include "monitor.h"

struct client {
	struct source source;
	struct client *next;
	bool creator;
	bool attached;
	bool with_stdin;
	bool dead;
	/* the frame being read */
	uint8_t header[FRAME_HEADER_SIZE];
	size_t have;
	uint32_t remaining;
	uint8_t small[8];
	/* what waits to be sent; mapped only while there is something */
	uint8_t *queue;
	size_t from;
	size_t to;
	uint64_t progress;
};

/* Sends a frame, or queues what the socket does not take. A client that is gone or cannot be queued for is dropped. */
void client_send(struct client *c, uint8_t type, uint8_t argument, uint16_t id, const uint8_t *data, size_t size);
void client_result(struct client *c, uint16_t id, int error);
/* Closes the connection; the memory goes with the next sweep. */
void client_drop(struct client *c);
/* Registers what the client can take and give now. */
void client_update(struct client *c);
void client_flush(struct client *c);
void client_attach(struct client *c, bool with_stdin);
/* Remembers who gets the result of the start. False when somebody waits for one already. */
bool client_awaits_start(struct client *c, uint16_t id);
