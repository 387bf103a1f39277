/*
 * Clients of the monitor: who they are, and what they are sent.
 *
 * What a client does not take at once waits in its queue. A queue beyond QUEUE_HIGH stops the reading of output, so
 * that the process is held back as by a full pipe; nothing is lost and memory stays bounded. One client must not do
 * that to others, though: when several are attached, one that has taken nothing for STALL_MS is dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client.h"
#include "util.h"

#define QUEUE_HIGH (1u << 20)
/* room for what is read between two looks at the queues, and for the rest of the pipes after the process's end */
#define QUEUE_SIZE (QUEUE_HIGH + (512u << 10))
#define STALL_MS 2000u

static struct client *clients;
static bool attached_ever;
static struct client *starter;
static uint16_t starter_id;

static size_t waiting(const struct client *c)
{
	return c->to - c->from;
}

/* Reading stops while stdin is full or the client does not take our answers. */
void client_update(struct client *c)
{
	size_t room = 1;
	if (c->remaining && c->header[0] == FRAME_STDIN && c->with_stdin && stdin_is_open())
		(void)stdin_space(&room);
	bool reading = room > 0 && waiting(c) <= QUEUE_HIGH;
	/* with neither it is not registered at all: a hang-up would wake us again and again */
	watch(&c->source, (reading ? EPOLLIN : 0) | (waiting(c) ? EPOLLOUT : 0));
}

void client_drop(struct client *c)
{
	if (c->dead)
		return;
	c->dead = true;
	unwatch_and_close(&c->source);
	if (c->queue)
		(void)munmap(c->queue, QUEUE_SIZE);
	c->queue = NULL;
	c->from = c->to = 0;
	if (starter == c)
		starter = NULL;
	if (c->with_stdin && the_monitor.flags & STDIO_STDIN_ONCE)
		stdin_end();
	if (c->creator && the_monitor.phase == PHASE_CREATING)
		monitor_abandon();
}

static void enqueue(struct client *c, const uint8_t *data, size_t size)
{
	if (c->dead || size == 0)
		return;
	if (!c->queue) {
		c->queue = mmap(NULL, QUEUE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		c->from = c->to = 0;
		c->progress = clock_monotonic_ms();
		if (c->queue == MAP_FAILED) {
			c->queue = NULL;
			return client_drop(c);
		}
	}
	if (c->to + size > QUEUE_SIZE) {
		memmove(c->queue, c->queue + c->from, waiting(c));
		c->to -= c->from;
		c->from = 0;
	}
	if (c->to + size > QUEUE_SIZE)
		return client_drop(c);
	memcpy(c->queue + c->to, data, size);
	c->to += size;
}

void client_send(struct client *c, uint8_t type, uint8_t argument, uint16_t id, const uint8_t *data, size_t size)
{
	if (c->dead || the_monitor.leaving)
		return;
	uint8_t header[FRAME_HEADER_SIZE];
	put_frame_header(header, type, argument, id, (uint32_t)size);
	size_t sent = 0;
	if (!c->queue) {
		struct iovec parts[2] = {{header, sizeof header}, {(void *)(uintptr_t)data, size}};
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = size ? 2 : 1};
		ssize_t n = sendmsg(c->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return client_drop(c);
		sent = n < 0 ? 0 : (size_t)n;
	}
	if (sent < sizeof header) {
		enqueue(c, header + sent, sizeof header - sent);
		sent = sizeof header;
	}
	enqueue(c, data + (sent - sizeof header), size - (sent - sizeof header));
	if (!c->dead)
		client_update(c);
}

void client_result(struct client *c, uint16_t id, int error)
{
	uint8_t payload[4];
	put_u32(payload, (uint32_t)error);
	client_send(c, FRAME_RESULT, 0, id, payload, sizeof payload);
}

static void send_status(struct client *c)
{
	uint8_t payload[12];
	put_u32(payload, PROTOCOL_VERSION);
	put_u32(payload + 4, the_monitor.phase);
	put_u32(payload + 8, (uint32_t)the_monitor.pid);
	client_send(c, FRAME_STATUS, 0, 0, payload, sizeof payload);
}

void client_flush(struct client *c)
{
	while (waiting(c)) {
		ssize_t n = send(c->source.fd, c->queue + c->from, waiting(c), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR)
			return client_drop(c);
		if (n > 0) {
			c->from += (size_t)n;
			c->progress = clock_monotonic_ms();
		}
	}
	if (c->queue && !waiting(c)) {
		(void)munmap(c->queue, QUEUE_SIZE);
		c->queue = NULL;
		c->from = c->to = 0;
	}
	client_update(c);
}

void clients_add(int fd, bool creator)
{
	struct client *c = calloc(1, sizeof *c);
	if (!c) {
		close_fd(&fd);
		return;
	}
	c->source = (struct source){.kind = SOURCE_CLIENT, .fd = fd};
	c->creator = creator;
	c->next = clients;
	clients = c;
	client_update(c);
	if (!creator)
		send_status(c);
}

void clients_accept(void)
{
	int fd = accept4(the_monitor.listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	/* the directory is for its owner only; this is the second lock on the door */
	struct ucred peer;
	socklen_t size = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || (peer.uid != 0 && peer.uid != geteuid()))
		return close_fd(&fd);
	clients_add(fd, false);
}

void client_attach(struct client *c, bool with_stdin)
{
	c->attached = attached_ever = true;
	c->with_stdin = with_stdin;
}

bool client_awaits_start(struct client *c, uint16_t id)
{
	if (starter)
		return false;
	starter = c;
	starter_id = id;
	return true;
}

void clients_output(enum stream stream, const uint8_t *data, size_t size)
{
	for (struct client *c = clients; c; c = c->next)
		if (c->attached)
			client_send(c, FRAME_OUTPUT, stream == STREAM_STDERR ? 2 : 1, 0, data, size);
}

void clients_broadcast(uint8_t type, const uint8_t *payload, size_t size)
{
	for (struct client *c = clients; c; c = c->next)
		client_send(c, type, 0, 0, payload, size);
}

void clients_status(void)
{
	for (struct client *c = clients; c; c = c->next)
		send_status(c);
}

void clients_hooks(void)
{
	uint8_t payload[4];
	put_u32(payload, (uint32_t)the_monitor.pid);
	for (struct client *c = clients; c; c = c->next)
		if (c->creator)
			client_send(c, FRAME_HOOKS, 0, 0, payload, sizeof payload);
}

void clients_started(const uint8_t *failure, size_t size)
{
	if (!starter)
		return;
	struct client *c = starter;
	starter = NULL;
	if (failure)
		client_send(c, FRAME_RESULT, 0, starter_id, failure, size);
	else
		client_result(c, starter_id, 0);
}

void clients_end_output(void)
{
	for (struct client *c = clients; c; c = c->next)
		if (c->attached)
			client_send(c, FRAME_END, 0, 0, NULL, 0);
}

void clients_resume_stdin(void)
{
	for (struct client *c = clients; c; c = c->next)
		if (!c->dead && c->remaining)
			client_update(c);
}

bool clients_hold_back(void)
{
	for (struct client *c = clients; c; c = c->next)
		if (c->attached && waiting(c) > QUEUE_HIGH)
			return true;
	return false;
}

int clients_sweep(void)
{
	uint64_t now = clock_monotonic_ms();
	unsigned attached = 0;
	int wait = -1;
	for (struct client *c = clients; c; c = c->next)
		attached += c->attached && !c->dead;
	for (struct client *c = clients; c; c = c->next) {
		if (attached < 2 || !c->attached || waiting(c) <= QUEUE_HIGH)
			continue;
		if (now - c->progress >= STALL_MS)
			client_drop(c);
		else
			wait = STALL_MS / 4;
	}
	for (struct client **at = &clients; *at;) {
		struct client *c = *at;
		if (!c->dead) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		free(c);
	}
	return wait;
}

bool clients_done(void)
{
	for (struct client *c = clients; c; c = c->next)
		if (!c->dead && waiting(c))
			return false;
	return true;
}

bool clients_any(void)
{
	return clients;
}

void clients_shut_down(void)
{
	for (struct client *c = clients; c; c = c->next)
		if (!c->dead)
			(void)shutdown(c->source.fd, SHUT_WR);
}

bool clients_any_attached_ever(void)
{
	return attached_ever;
}

bool clients_creator_present(void)
{
	for (struct client *c = clients; c; c = c->next)
		if (c->creator && !c->dead)
			return true;
	return false;
}
