/* stdio of the container as the monitor holds it: reading output, feeding stdin. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "monitor.h"
#include "util.h"

/* What a pipe holds by default: one read empties it. */
#define CHUNK_SIZE 65536u
/* Rounds in a row before others get their turn. */
#define READ_BUDGET 4

static uint8_t chunk[CHUNK_SIZE];

static struct {
	uint8_t bytes[16384];
	size_t from;
	size_t to;
	bool ending;
} input;

bool streams_open(void)
{
	return the_monitor.outputs[0].fd >= 0 || the_monitor.outputs[1].fd >= 0;
}

void streams_close(void)
{
	unwatch_and_close(&the_monitor.outputs[0]);
	unwatch_and_close(&the_monitor.outputs[1]);
}

bool streams_held(void)
{
	return the_monitor.flags & STDIO_HOLD && !clients_any_attached_ever();
}

void streams_read(enum stream stream)
{
	struct monitor *m = &the_monitor;
	struct source *output = &m->outputs[stream];
	for (int round = 0; output->fd >= 0 && round < READ_BUDGET; round++) {
		if (streams_held() || clients_hold_back())
			return;
		ssize_t size = read(output->fd, chunk, sizeof chunk);
		if (size > 0) {
			log_write(stream, chunk, (size_t)size);
			clients_output(stream, chunk, (size_t)size);
		} else if (size < 0 && errno == EINTR) {
			continue;
		} else if (size < 0 && errno == EAGAIN) {
			return;
		} else if (size < 0 && errno == EIO && m->flags & STDIO_TERMINAL && m->phase != PHASE_STOPPED) {
			/* nobody has the terminal open just now, but the process may open it again: tell me then, once */
			watch(output, EPOLLIN | EPOLLET);
			return;
		} else {
			unwatch_and_close(output);
		}
	}
}

void streams_update(void)
{
	struct monitor *m = &the_monitor;
	/* a closed pipe would wake us again and again, so unwanted outputs are not registered at all */
	bool wanted = !streams_held() && !clients_hold_back();
	for (int i = 0; i < 2; i++) {
		struct source *output = &m->outputs[i];
		if (output->fd < 0)
			continue;
		if (!wanted)
			watch(output, 0);
		else if (!(output->events & EPOLLIN))
			watch(output, EPOLLIN);
	}
}

bool stdin_is_open(void)
{
	return the_monitor.input.fd >= 0 && !input.ending;
}

uint8_t *stdin_space(size_t *room)
{
	if (input.from == input.to)
		input.from = input.to = 0;
	*room = sizeof input.bytes - input.to;
	return input.bytes + input.to;
}

void stdin_put(size_t size)
{
	input.to += size;
	stdin_flush();
}

void stdin_flush(void)
{
	struct source *source = &the_monitor.input;
	while (source->fd >= 0 && input.from < input.to) {
		ssize_t size = write(source->fd, input.bytes + input.from, input.to - input.from);
		if (size >= 0) {
			input.from += (size_t)size;
		} else if (errno == EAGAIN) {
			watch(source, EPOLLOUT);
			return;
		} else if (errno != EINTR) {
			/* EPIPE: the process has closed its stdin, and what clients send from now on is dropped */
			unwatch_and_close(source);
		}
	}
	input.from = input.to = 0;
	if (source->fd >= 0) {
		watch(source, 0);
		if (input.ending)
			unwatch_and_close(source);
	}
	clients_resume_stdin();
}

void stdin_end(void)
{
	/* a terminal has no end of file of its own: its users type one */
	if (the_monitor.flags & STDIO_TERMINAL)
		return;
	input.ending = true;
	if (input.from == input.to)
		unwatch_and_close(&the_monitor.input);
}
