/* The monitor's life: make the container's process, serve, record its end, go. */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/* How long output may keep coming after the end, from processes that have inherited stdout. */
#define DRAIN_MS 2000u
/* How long clients have to read what they were sent and to hang up. */
#define LINGER_MS 1000u

struct monitor the_monitor = {
	.pidfd = -1,
	.oom = -1,
	.phase = PHASE_CREATING,
	.listener = {SOURCE_LISTENER, -1, 0},
	.sync = {SOURCE_SYNC, -1, 0},
	.signals = {SOURCE_SIGNAL, -1, 0},
	.outputs = {{SOURCE_OUTPUT, -1, 0}, {SOURCE_OUTPUT, -1, 0}},
	.input = {SOURCE_STDIN, -1, 0},
	.process = {SOURCE_PROCESS, -1, 0},
};

void watch(struct source *source, uint32_t events)
{
	if (source->fd < 0 || source->events == events)
		return;
	struct epoll_event event = {.events = events, .data.ptr = source};
	int operation = !events ? EPOLL_CTL_DEL : source->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	(void)epoll_ctl(the_monitor.epoll, operation, source->fd, &event);
	source->events = events;
}

void unwatch_and_close(struct source *source)
{
	watch(source, 0);
	close_fd(&source->fd);
}

void monitor_start(void)
{
	the_monitor.start_sent = true;
	/* a failure shows as the end of the process, which is noticed anyway */
	(void)send(the_monitor.sync.fd, "S", 1, MSG_NOSIGNAL);
}

void monitor_proceed(void)
{
	(void)send(the_monitor.sync.fd, "S", 1, MSG_NOSIGNAL);
}

void monitor_abandon(void)
{
	(void)sys_pidfd_send_signal(the_monitor.pidfd, SIGKILL);
	/* 0 once it has ended, which waitpid would take for others */
	if (the_monitor.pid > 0)
		(void)waitpid(the_monitor.pid, NULL, __WALL);
	_exit(1);
}

/* `pid`: who the process and its monitor are. Its presence says that the container was set up in full. */
static void record_created(void)
{
	struct monitor *m = &the_monitor;
	char text[256] = "{\"pid\":";
	append_number(text, sizeof text, (uint64_t)m->pid);
	append(text, sizeof text, ",\"startTicks\":");
	append_number(text, sizeof text, start_time(m->pid));
	append(text, sizeof text, ",\"monitorPid\":");
	append_number(text, sizeof text, (uint64_t)getpid());
	append(text, sizeof text, ",\"monitorStartTicks\":");
	append_number(text, sizeof text, start_time(getpid()));
	append(text, sizeof text, "}\n");
	if (!write_file(m->state, "pid", "pid.tmp", text, strlen(text))) {
		set_stage("monitor");
		(void)sys_pidfd_send_signal(m->pidfd, SIGKILL);
		die("open", "pid");
	}
}

static void record_exit(void)
{
	struct monitor *m = &the_monitor;
	char text[256] = "{\"exitCode\":";
	append_number(text, sizeof text, m->exit_code);
	append(text, sizeof text, ",\"signal\":");
	append_number(text, sizeof text, m->exit_signal);
	append(text, sizeof text, m->oom_killed ? ",\"oomKilled\":true,\"exitedAtNs\":\"" : ",\"oomKilled\":false,\"exitedAtNs\":\"");
	append_number(text, sizeof text, m->exit_time);
	append(text, sizeof text, "\"}\n");
	/* the directory may be gone already, with nobody left to ask */
	(void)write_file(m->state, "exit", "exit.tmp", text, strlen(text));
}

/* memory.events (v2) and memory.oom_control (v1) both have a line "oom_kill N". */
static bool read_oom(void)
{
	char text[512];
	ssize_t size = the_monitor.oom < 0 ? 0 : pread(the_monitor.oom, text, sizeof text - 1, 0);
	if (size <= 0)
		return false;
	text[size] = 0;
	const char *line = strstr(text, "oom_kill ");
	return line && line[9] >= '1' && line[9] <= '9';
}

/* The name is what other runtimes send along; it means nothing outside the container. */
static void hand_over_terminal(int fd)
{
	static const char name[] = "/dev/pts/ptmx";
	/* the container is of no use without its terminal, and its maker hears of the end */
	if (!send_fd(FURTHER_FD, name, sizeof name - 1, fd))
		(void)sys_pidfd_send_signal(the_monitor.pidfd, SIGKILL);
	(void)close(FURTHER_FD);
	close_fd(&fd);
}

static void take_terminal(int fd)
{
	struct monitor *m = &the_monitor;
	struct winsize size = {.ws_col = m->columns, .ws_row = m->rows};
	if (m->columns || m->rows)
		(void)ioctl(fd, TIOCSWINSZ, &size);
	if (m->flags & STDIO_CONSOLE)
		return hand_over_terminal(fd);
	m->outputs[0].fd = fd;
	if (m->flags & STDIO_OPEN_STDIN)
		m->input.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static void on_created(void)
{
	struct monitor *m = &the_monitor;
	record_created();
	m->phase = PHASE_CREATED;
	if (m->flags & STDIO_AUTOSTART)
		monitor_start();
	else
		clients_status();
}

static void on_running(void)
{
	unwatch_and_close(&the_monitor.sync);
	/* closed by an exec, or by the end of a process that never got that far */
	if (the_monitor.phase != PHASE_CREATED || !the_monitor.start_sent || the_monitor.start_failed)
		return;
	the_monitor.phase = PHASE_RUNNING;
	clients_status();
	clients_started(NULL, 0);
}

static void on_failure(const uint8_t *failure, size_t size)
{
	struct monitor *m = &the_monitor;
	/* an exec'd process that never ran is nothing to keep, and neither is half a container */
	if (m->phase == PHASE_CREATING || m->flags & STDIO_AUTOSTART) {
		(void)waitpid(m->pid, NULL, __WALL);
		clients_broadcast(FRAME_FAILED, failure, size);
		_exit(1);
	}
	m->start_failed = true;
	clients_started(failure, size);
}

/* A filter that nobody watches would hold its process up for ever. */
static void on_listener(int fd)
{
	if (agent_notify(fd))
		return;
	uint8_t failure[FAILURE_MAX_SIZE];
	size_t size = encode_failure(failure, errno, "SECCOMP_LISTENER", "connect", the_monitor.agent.path);
	(void)sys_pidfd_send_signal(the_monitor.pidfd, SIGKILL);
	on_failure(failure, size);
}

ssize_t receive_fd(int socket, void *data, size_t size, int *fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = {data, size};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
	ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (received < 0)
		return received;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof *fd))
		memcpy(fd, CMSG_DATA(header), sizeof *fd);
	return received;
}

/* Messages of the container's process: terminal, ready at the gate, failure; the end is its exec, or its death. */
static void read_sync(void)
{
	uint8_t data[1 + FAILURE_MAX_SIZE];
	int fd = -1;
	ssize_t size = receive_fd(the_monitor.sync.fd, data, sizeof data, &fd);
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size <= 0)
		return on_running();
	if (data[0] == 'P' && fd >= 0 && the_monitor.outputs[0].fd < 0)
		return take_terminal(fd);
	if (data[0] == 'N' && fd >= 0 && the_monitor.agent.path)
		return on_listener(fd);
	close_fd(&fd);
	if (data[0] == 'R')
		on_created();
	else if (data[0] == 'H')
		clients_hooks();
	else if (data[0] == 'F')
		on_failure(data + 1, (size_t)size - 1);
}

static void on_exit_of_process(int status)
{
	struct monitor *m = &the_monitor;
	/* what it said before it ended comes first: that the program was executed, or why not */
	while (m->sync.fd >= 0)
		read_sync();
	if (m->phase == PHASE_CREATING) {
		/* it reports before it ends by itself, so somebody has killed it */
		uint8_t failure[FAILURE_MAX_SIZE];
		size_t size = encode_failure(failure, ECHILD, "init", "clone3", "killed while it was being set up");
		clients_broadcast(FRAME_FAILED, failure, size);
		_exit(1);
	}
	m->phase = PHASE_STOPPED;
	m->pid = 0;
	m->exit_signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0;
	m->exit_code = WIFSIGNALED(status) ? 128 + m->exit_signal : (uint32_t)WEXITSTATUS(status);
	m->exit_time = clock_realtime_ns();
	m->oom_killed = read_oom();
	m->drain_deadline = clock_monotonic_ms() + DRAIN_MS;
	if (!(m->flags & STDIO_TERMINAL))
		unwatch_and_close(&m->input);
	record_exit();
	for (int i = 0; i < 2; i++) {
		if (m->outputs[i].fd >= 0)
			watch(&m->outputs[i], EPOLLIN);
		streams_read((enum stream)i);
	}
}

static void reap(void)
{
	struct signalfd_siginfo ignored;
	while (read(the_monitor.signals.fd, &ignored, sizeof ignored) > 0)
		continue;
	/* also others' children: this is the nearest subreaper of a container in the host's pid namespace */
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
		if (pid == the_monitor.pid)
			on_exit_of_process(status);
}

static void dispatch(struct source *source, uint32_t events)
{
	/* closed by an earlier event of the same round */
	if (source->fd < 0 && source->kind != SOURCE_CLIENT)
		return;
	switch (source->kind) {
	case SOURCE_LISTENER:
		return clients_accept();
	case SOURCE_SYNC:
		return read_sync();
	case SOURCE_SIGNAL:
		return reap();
	case SOURCE_OUTPUT:
		return streams_read(source == &the_monitor.outputs[1] ? STREAM_STDERR : STREAM_STDOUT);
	case SOURCE_STDIN:
		return stdin_flush();
	case SOURCE_PROCESS:
		watch(source, 0);
		return on_exit_of_process(orphan_status());
	case SOURCE_CLIENT:
		return clients_ready(source, events);
	}
}

static void tell_exit(void)
{
	struct monitor *m = &the_monitor;
	uint8_t payload[24] = {0};
	put_u32(payload, m->exit_code);
	put_u32(payload + 4, m->exit_signal);
	put_u32(payload + 8, m->oom_killed);
	put_u64(payload + 16, m->exit_time);
	clients_broadcast(FRAME_EXIT, payload, sizeof payload);
	m->told = true;
}

/*
 * Everything is sent. Closing now could still lose it: a client that happens to write gets EPIPE before it has read. So
 * the clients are told that nothing more will come, and left to hang up by themselves.
 */
static int take_leave(uint64_t now)
{
	struct monitor *m = &the_monitor;
	if (!m->leaving) {
		m->leaving = true;
		m->leave_deadline = now + LINGER_MS;
		unwatch_and_close(&m->listener);
		clients_shut_down();
	}
	if (!clients_any() || now >= m->leave_deadline)
		_exit(0);
	return (int)(m->leave_deadline - now);
}

/* After the process's end. Answers how long to wait for more, in ms; ends the monitor when nothing is left to do. */
static int wind_up(void)
{
	struct monitor *m = &the_monitor;
	uint64_t now = clock_monotonic_ms();
	bool waits = !m->drained && (streams_held() || clients_hold_back());
	/* the time limit is for processes that keep the pipes, not for clients that have not read yet */
	if (waits)
		m->drain_deadline = now + DRAIN_MS;
	else if (!m->drained && (!streams_open() || now >= m->drain_deadline)) {
		streams_close();
		unwatch_and_close(&m->input);
		log_finish();
		m->drained = true;
	}
	if (!m->told && (m->drained || waits))
		tell_exit();
	if (!m->ended && m->drained) {
		clients_end_output();
		m->ended = true;
	}
	if (m->drained && clients_done())
		return take_leave(now);
	if (streams_held() && !clients_creator_present())
		_exit(0);
	return m->drained || waits ? -1 : (int)(m->drain_deadline - now);
}

void monitor_run(const struct plan *plan, int client, int state)
{
	struct monitor *m = &the_monitor;
	m->state = state;
	detach_from_caller();
	m->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (m->epoll < 0)
		die("epoll_create1", NULL);
	give_birth(plan, client);

	watch(&m->sync, EPOLLIN);
	watch(&m->signals, EPOLLIN);
	watch(&m->listener, EPOLLIN);
	clients_add(client, true);
	if (m->flags & STDIO_ORPHAN)
		orphan_watch();
	for (int timeout = -1;;) {
		struct epoll_event events[16];
		int count = epoll_wait(m->epoll, events, 16, timeout);
		for (int i = 0; i < count; i++)
			dispatch(events[i].data.ptr, events[i].events);
		timeout = clients_sweep();
		streams_update();
		if (m->phase == PHASE_STOPPED) {
			int wait = wind_up();
			if (timeout < 0 || (wait >= 0 && wait < timeout))
				timeout = wait;
		}
	}
}
