/* What clients ask of the monitor: frames, read as they come, in any pieces. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

#include "client.h"
#include "kernel.h"
#include "util.h"

static int resize(const uint8_t *payload)
{
	if (!(the_monitor.flags & STDIO_TERMINAL))
		return ENOTTY;
	struct winsize size = {.ws_col = get_u16(payload), .ws_row = get_u16(payload + 2)};
	int fd = the_monitor.outputs[0].fd;
	return fd >= 0 && ioctl(fd, TIOCSWINSZ, &size) == 0 ? 0 : fd >= 0 ? errno : ESRCH;
}

static void handle(struct client *c)
{
	uint16_t id = get_u16(c->header + 2);
	switch (c->header[0]) {
	case FRAME_START:
		if (the_monitor.phase != PHASE_CREATED || !client_awaits_start(c, id))
			return client_result(c, id, the_monitor.phase == PHASE_STOPPED ? ESRCH : EALREADY);
		return monitor_start();
	case FRAME_ATTACH:
		client_attach(c, c->header[1] & 1);
		client_result(c, id, 0);
		if (the_monitor.drained)
			client_send(c, FRAME_END, 0, 0, NULL, 0);
		return;
	case FRAME_STDIN_EOF:
		if (c->with_stdin && the_monitor.flags & STDIO_STDIN_ONCE)
			stdin_end();
		c->with_stdin = false;
		return;
	case FRAME_RESIZE:
		return client_result(c, id, resize(c->small));
	case FRAME_PROCEED:
		if (!c->creator || the_monitor.phase != PHASE_CREATING)
			return client_drop(c);
		return monitor_proceed();
	case FRAME_ABANDON:
		if (!c->creator)
			return client_drop(c);
		monitor_abandon();
	case FRAME_KILL:
		return client_result(c, id, sys_pidfd_send_signal(the_monitor.pidfd, (int)get_u32(c->small)) < 0 ? errno : 0);
	default:
		return client_drop(c);
	}
}

/* Bytes a frame must carry; stdin's are taken as they come. */
static bool acceptable(const struct client *c, uint32_t length)
{
	switch (c->header[0]) {
	case FRAME_STDIN:
		return length <= FRAME_MAX_PAYLOAD;
	case FRAME_RESIZE:
	case FRAME_KILL:
		return length == 4;
	default:
		return length == 0;
	}
}

static ssize_t receive(struct client *c, void *at, size_t size)
{
	ssize_t n = recv(c->source.fd, at, size, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		client_drop(c);
		return -1;
	}
	return n;
}

/* One step of reading. False when there is nothing more to do now. */
static bool read_step(struct client *c)
{
	ssize_t n;
	if (c->have < sizeof c->header) {
		n = receive(c, c->header + c->have, sizeof c->header - c->have);
		if (n <= 0)
			return false;
		c->have += (size_t)n;
		if (c->have < sizeof c->header)
			return true;
		c->remaining = get_u32(c->header + 4);
		if (!acceptable(c, c->remaining)) {
			client_drop(c);
			return false;
		}
	} else if (c->header[0] == FRAME_STDIN) {
		uint8_t discarded[1024];
		size_t room = sizeof discarded;
		bool wanted = c->with_stdin && stdin_is_open();
		uint8_t *at = wanted ? stdin_space(&room) : discarded;
		if (room == 0)
			return false;
		n = receive(c, at, room < c->remaining ? room : c->remaining);
		if (n <= 0)
			return false;
		c->remaining -= (uint32_t)n;
		if (wanted)
			stdin_put((size_t)n);
	} else {
		n = receive(c, c->small + sizeof c->small - 4 - c->remaining, c->remaining);
		if (n <= 0)
			return false;
		c->remaining -= (uint32_t)n;
	}
	if (c->dead || c->remaining)
		return !c->dead;
	c->have = 0;
	if (c->header[0] != FRAME_STDIN)
		handle(c);
	return !c->dead;
}

void clients_ready(struct source *source, uint32_t events)
{
	struct client *c = (struct client *)(void *)source;
	if (!c->dead && events & EPOLLOUT)
		client_flush(c);
	if (c->dead || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	/* a turn is limited, so that a client that never stops sending does not stop everything else */
	for (int steps = 0; steps < 64 && read_step(c); steps++)
		continue;
	if (!c->dead)
		client_update(c);
}
