/*
 * Hooks of the container's namespaces: programs that its process starts and waits for, found on the host before the
 * pivot and in the container after it. They read the container's state from stdin; what they write is kept for the
 * report of a failure.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/* Of a hook's output, the end: it says why. */
#define KEPT_OUTPUT 1024u

struct output {
	char text[KEPT_OUTPUT + 1];
	size_t size;
};

/* The state as a file: the pid in it is the one that this process has in its own namespace. */
static int state_file(const char *head)
{
	int fd = (int)syscall(SYS_memfd_create, "state", TARE_MFD_CLOEXEC);
	if (fd < 0)
		die("memfd_create", NULL);
	char tail[32] = "";
	append_number(tail, sizeof tail, (uint64_t)getpid());
	append(tail, sizeof tail, "}\n");
	if (!write_all(fd, head, strlen(head)) || !write_all(fd, tail, strlen(tail)) || lseek(fd, 0, SEEK_SET) < 0)
		die("write", "the state");
	return fd;
}

__attribute__((noreturn)) static void become_hook(const char *path, char **arguments, char **environment, const int stdio[2])
{
	/* whoever waits for it reports */
	report_with(REPORT_MONITOR, -1);
	(void)setsid();
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < 3; i++)
		if (dup2(stdio[i > 0], i) < 0)
			_exit(126);
	(void)sys_close_range(3, ~0u, TARE_CLOSE_RANGE_CLOEXEC);
	reset_signals();
	(void)execve(path, arguments, environment);
	const char *reason = strerror(errno);
	(void)write_all(2, reason, strlen(reason));
	_exit(127);
}

static void keep_output(struct output *output, int fd)
{
	char part[KEPT_OUTPUT / 2];
	ssize_t n;
	while ((n = read(fd, part, sizeof part)) > 0) {
		size_t size = (size_t)n;
		size_t excess = output->size + size > KEPT_OUTPUT ? output->size + size - KEPT_OUTPUT : 0;
		memmove(output->text, output->text + excess, output->size - excess);
		output->size -= excess;
		memcpy(output->text + output->size, part, size);
		output->size += size;
	}
}

/* Waits for the end of the hook; false when the time is up first. */
static bool await_end(int pidfd, int fd, uint32_t timeout, struct output *output)
{
	const uint64_t deadline = clock_monotonic_ms() + timeout;
	for (;;) {
		uint64_t now = clock_monotonic_ms();
		if (timeout && now >= deadline)
			return false;
		/* a closed pipe says nothing of the process: it is left out of the next round */
		struct pollfd polled[2] = {{pidfd, POLLIN, 0}, {fd, POLLIN, 0}};
		if (poll(polled, 2, timeout ? (int)(deadline - now) : -1) < 0 && errno != EINTR)
			die("poll", NULL);
		if (polled[1].revents)
			keep_output(output, fd);
		if (polled[1].revents & POLLHUP)
			fd = -1;
		if (polled[0].revents)
			return true;
	}
}

/* index, path, what happened, and what it said: JavaScript makes a sentence of it */
__attribute__((noreturn)) static void report(uint32_t index, const char *path, int error, int status, struct output *output)
{
	char text[4096] = "";
	append_number(text, sizeof text, index);
	append(text, sizeof text, " ");
	append(text, sizeof text, path);
	append(text, sizeof text, WIFSIGNALED(status) ? ": signal " : ": exit status ");
	append_number(text, sizeof text, (uint64_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
	if (output->size) {
		output->text[output->size] = 0;
		append(text, sizeof text, ": ");
		append(text, sizeof text, output->text);
	}
	die_with(error, "hook", text);
}

void run_hook(struct cursor f)
{
	uint32_t index = read_u32(&f);
	const char *path = read_string(&f);
	char **arguments = pointers(read_list(&f));
	char **environment = pointers(read_list(&f));
	AUTO_FD state = state_file(read_string(&f));
	uint32_t timeout = read_u32(&f);

	int pipe[2];
	if (pipe2(pipe, O_CLOEXEC) < 0 || fcntl(pipe[0], F_SETFL, O_NONBLOCK) < 0)
		die("pipe2", NULL);
	AUTO_FD reading = pipe[0];
	int pidfd = -1;
	struct tare_clone_args args = {
		.flags = TARE_CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = SIGCHLD};
	pid_t pid = sys_clone3(&args);
	if (pid < 0)
		die("clone3", path);
	if (pid == 0)
		become_hook(path, arguments, environment, (int[2]){state, pipe[1]});
	(void)close(pipe[1]);
	AUTO_FD child = pidfd;

	struct output output = {.size = 0};
	bool ended = await_end(child, reading, timeout, &output);
	if (!ended) {
		/* its whole session; the number is its own until it is waited for */
		(void)kill(-pid, SIGKILL);
		(void)sys_pidfd_send_signal(child, SIGKILL);
	}
	int status;
	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			die("waitpid", path);
	keep_output(&output, reading);
	if (!ended)
		report(index, path, ETIMEDOUT, status, &output);
	if (status != 0)
		report(index, path, ECANCELED, status, &output);
}
