/* Hands the listener of a seccomp filter to the agent that decides about its notifications. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "kernel.h"
#include "monitor.h"
#include "init.h"
#include "util.h"

/* An agent that lets its queue fill up is as good as none. */
#define PATIENCE_SECONDS 10

static int connect_agent(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	append(address.sun_path, sizeof address.sun_path, path);
	AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = {.tv_sec = PATIENCE_SECONDS};
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return -1;
	int connected = fd;
	fd = -1;
	return connected;
}

bool agent_notify(int listener)
{
	static char text[64 << 10];
	const struct agent *agent = &the_monitor.agent;
	AUTO_FD fd = listener;
	uint64_t pid = (uint64_t)the_monitor.pid;
	append(text, sizeof text, agent->head);
	append_number(text, sizeof text, agent->container ? agent->container : pid);
	append(text, sizeof text, "},\"pid\":");
	append_number(text, sizeof text, pid);
	append(text, sizeof text, "}");
	AUTO_FD socket = connect_agent(agent->path);
	return socket >= 0 && send_fd(socket, text, strlen(text), fd);
}
