/*
 * A process that is not the monitor's own child: it was born to the monitor's maker, and when that one has ended, to
 * whoever reaps its orphans, who wants to wait for it. Its end is seen through the pidfd, its status without waiting.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kernel.h"
#include "monitor.h"
#include "util.h"

/* What is said of an end that could not be seen: exit code 255, as wait(2) has it. */
#define LOST_STATUS (255 << 8)

void orphan_watch(void)
{
	the_monitor.process.fd = the_monitor.pidfd;
	watch(&the_monitor.process, EPOLLIN);
}

/* Field 52 of /proc/PID/stat, while the process is a zombie; -1 once somebody has waited for it. */
static int zombie_status(pid_t pid)
{
	char path[32] = "/proc/";
	append_number(path, sizeof path, (uint64_t)pid);
	append(path, sizeof path, "/stat");
	AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	char line[1024];
	ssize_t size = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
	if (size <= 0)
		return -1;
	line[size] = 0;
	const char *name_end = strrchr(line, ')');
	const char *last = strrchr(line, ' ');
	return name_end && name_end[1] == ' ' && name_end[2] == 'Z' && last ? atoi(last + 1) : -1;
}

int orphan_status(void)
{
	int status = zombie_status(the_monitor.pid);
	if (status >= 0)
		return status;
	/* Linux 6.15; before it nobody knows any more */
	struct tare_pidfd_info info = {.mask = TARE_PIDFD_INFO_EXIT};
	if (ioctl(the_monitor.pidfd, TARE_PIDFD_GET_INFO, &info) == 0 && info.mask & TARE_PIDFD_INFO_EXIT)
		return info.exit_code;
	return LOST_STATUS;
}
