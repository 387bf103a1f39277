/* How a monitor comes to be and makes its process: away from the caller, phase 1 of the plan, clone3. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"
#include "monitor.h"
#include "util.h"

/* The container's side of stdio: what becomes descriptors 0 to 2 of its process, -1 for what the terminal will be. */
static void make_pipes(int stdio[3])
{
	struct monitor *m = &the_monitor;
	stdio[0] = stdio[1] = stdio[2] = -1;
	if (m->flags & (STDIO_TERMINAL | STDIO_INHERIT))
		return;
	int pair[2];
	/* without an open stdin, /dev/null of the host stays in its place */
	if (m->flags & STDIO_OPEN_STDIN) {
		if (pipe2(pair, O_CLOEXEC) < 0 || fcntl(pair[1], F_SETFL, O_NONBLOCK) < 0)
			die("pipe2", "stdin");
		stdio[0] = pair[0];
		m->input.fd = pair[1];
	}
	for (int i = 0; i < 2; i++) {
		if (pipe2(pair, O_CLOEXEC) < 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
			die("pipe2", "stdout");
		m->outputs[i].fd = pair[0];
		stdio[i + 1] = pair[1];
	}
}

static void listen_for_clients(void)
{
	struct monitor *m = &the_monitor;
	m->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (m->listener.fd < 0)
		die("socket", "AF_UNIX");
	/* a relative name: the directory's path may be longer than an address can hold */
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "ctl.sock"};
	if (fchdir(m->state) < 0)
		die("fchdir", "the state directory");
	if (bind(m->listener.fd, (struct sockaddr *)&address, sizeof address) < 0)
		die("bind", "ctl.sock");
	if (chdir("/") < 0)
		die("chdir", "/");
	if (listen(m->listener.fd, 128) < 0)
		die("listen", "ctl.sock");
}

/* A process that outlives its maker and gives nothing of it away. */
void detach_from_caller(void)
{
	set_stage("monitor");
	const unsigned end = FURTHER_FD + the_monitor.further;
	if (sys_close_range(end, ~0u, 0) < 0)
		die("close_range", NULL);
	for (int fd = 3; fd < (int)end; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			die("fcntl", NULL);
	(void)setsid();
	if (chdir("/") < 0)
		die("chdir", "/");
	(void)umask(0);
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		die("prctl", NULL);
	/* writes to a closed stdin answer EPIPE; SIGCHLD is read from its descriptor */
	sigset_t blocked;
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGPIPE);
	(void)sigaddset(&blocked, SIGCHLD);
	if (sigprocmask(SIG_SETMASK, &blocked, NULL) < 0)
		die("sigprocmask", NULL);
	(void)sigdelset(&blocked, SIGPIPE);
	the_monitor.signals.fd = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
	if (the_monitor.signals.fd < 0)
		die("signalfd", NULL);
}

struct birth {
	uint64_t flags;
	int cgroup;
	int target;
};

static void open_target(struct birth *birth, int pid, uint64_t since)
{
	birth->target = sys_pidfd_open(pid);
	if (birth->target < 0)
		die("pidfd_open", NULL);
	/* the number may be another process's by now; once the pidfd is open it cannot change any more */
	if (start_time(pid) != since)
		die_with(ESRCH, "pidfd_open", NULL);
	/* the stage joins it, with the user namespace that it belongs to */
	if (the_monitor.staged)
		return;
	if (setns(birth->target, (int)TARE_CLONE_NEWPID) < 0)
		die("setns", "pid");
}

/* Phase 1 of the plan. */
static void prepare(const struct plan *plan, struct birth *birth)
{
	struct monitor *m = &the_monitor;
	struct cursor cursor = plan_begin(plan);
	struct operation_at operation;
	while (plan_next(plan, &cursor, &operation)) {
		struct cursor f = operation.fields;
		set_stage(operation_name(operation.code));
		switch ((enum operation)operation.code) {
		case OP_STDIO:
			m->flags = read_u32(&f);
			m->columns = (uint16_t)read_u32(&f);
			m->rows = (uint16_t)read_u32(&f);
			break;
		case OP_LOG: {
			const char *path = read_string(&f);
			uint64_t size = read_u64(&f);
			log_open(path, size, read_u32(&f));
			break;
		}
		case OP_NAMESPACES:
			birth->flags = read_u32(&f);
			break;
		case OP_PID_NAMESPACE:
			join_namespace(TARE_CLONE_NEWPID, read_string(&f));
			break;
		case OP_CGROUP_BIRTH: {
			const char *path = read_string(&f);
			birth->cgroup = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
			if (birth->cgroup < 0)
				die("open", path);
			break;
		}
		case OP_OOM_EVENTS:
			/* absent without the memory controller, and then nothing kills for it */
			m->oom = open(read_string(&f), O_RDONLY | O_CLOEXEC);
			break;
		case OP_TARGET: {
			int pid = (int)read_u32(&f);
			open_target(birth, pid, read_u64(&f));
			break;
		}
		case OP_PARENT_AFFINITY:
			set_affinity(read_bytes(&f));
			break;
		case OP_STAGE:
			m->staged = true;
			break;
		case OP_SECCOMP_LISTENER:
			m->agent.path = read_string(&f);
			m->agent.head = read_string(&f);
			m->agent.container = read_u32(&f);
			break;
		default:
			return; /* phase 2 begins */
		}
	}
}

/* What is the process's own is not held open here. */
static void let_go_of_descriptors(void)
{
	const struct monitor *m = &the_monitor;
	const unsigned console = m->flags & STDIO_CONSOLE ? 1 : 0;
	if (m->further > console && sys_close_range(FURTHER_FD + console, FURTHER_FD + m->further - 1, 0) < 0)
		die("close_range", NULL);
	if (!(m->flags & STDIO_INHERIT))
		return;
	AUTO_FD null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		if (null < 0 || dup2(null, i) < 0)
			die("open", "/dev/null");
}

/* A stage that is the maker's child is the maker's to wait for. */
static void announce_stage(int client)
{
	uint8_t frame[FRAME_HEADER_SIZE + 4];
	put_frame_header(frame, FRAME_STAGE, 0, 0, 4);
	put_u32(frame + FRAME_HEADER_SIZE, (uint32_t)the_monitor.pid);
	(void)send(client, frame, sizeof frame, MSG_NOSIGNAL);
}

/* The message of the stage, if there is one: the process that it has made, or why there is none. */
static bool hear_of_child(int client)
{
	struct monitor *m = &the_monitor;
	uint8_t data[FRAME_HEADER_SIZE + FAILURE_MAX_SIZE];
	uint8_t *message = data + FRAME_HEADER_SIZE - 1;
	int pidfd = -1;
	ssize_t size = receive_fd(m->sync.fd, message, 1 + FAILURE_MAX_SIZE, &pidfd);
	if (size > 1 && message[0] == 'F') {
		put_frame_header(data, FRAME_FAILED, 0, 0, (uint32_t)size - 1);
		(void)send(client, data, FRAME_HEADER_SIZE + (size_t)size - 1, MSG_NOSIGNAL);
		monitor_abandon();
	}
	if (size != 5 || message[0] != 'B' || pidfd < 0)
		return false;
	if (!(m->flags & STDIO_ORPHAN))
		(void)waitpid(m->pid, NULL, __WALL);
	close_fd(&m->pidfd);
	m->pidfd = pidfd;
	m->pid = (pid_t)get_u32(message + 1);
	return true;
}

/* Until the stage has made the process, or somebody has had enough of it. */
static void await_child(int client)
{
	struct monitor *m = &the_monitor;
	set_stage("CHILD");
	for (;;) {
		struct pollfd ready[] = {{m->sync.fd, POLLIN, 0}, {m->pidfd, POLLIN, 0}, {client, POLLRDHUP, 0}};
		if (poll(ready, 3, -1) < 0 && errno != EINTR)
			die("poll", NULL);
		if (hear_of_child(client))
			return;
		if (ready[1].revents)
			die_with(ECHILD, "clone3", "killed while it was being set up");
		if (ready[2].revents)
			monitor_abandon();
	}
}

static void make_init(const struct plan *plan, const struct birth *birth, int client)
{
	struct monitor *m = &the_monitor;
	int stdio[3];
	int sync[2];
	make_pipes(stdio);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
		die("socketpair", NULL);
	set_stage("NAMESPACES");
	struct tare_clone_args args = {
		.flags = birth->flags | TARE_CLONE_PIDFD | (birth->cgroup >= 0 ? TARE_CLONE_INTO_CGROUP : 0) |
			 (m->flags & STDIO_ORPHAN ? TARE_CLONE_PARENT : 0),
		.pidfd = (uint64_t)(uintptr_t)&m->pidfd,
		/* a sibling inherits it; the kernel sets it to SIGCHLD for whom it gets as its new parent */
		.exit_signal = m->flags & STDIO_ORPHAN ? 0 : SIGCHLD,
		.cgroup = birth->cgroup >= 0 ? (uint64_t)birth->cgroup : 0,
	};
	m->pid = sys_clone3(&args);
	if (m->pid < 0)
		die("clone3", NULL);
	if (m->pid == 0)
		init_run(plan, sync[1], birth->target, stdio);
	(void)close(sync[1]);
	m->sync.fd = sync[0];
	for (int i = 0; i < 3; i++)
		close_fd(&stdio[i]);
	if (m->staged && m->flags & STDIO_ORPHAN)
		announce_stage(client);
	if (m->staged)
		await_child(client);
	let_go_of_descriptors();
}

void give_birth(const struct plan *plan, int client)
{
	struct birth birth = {.cgroup = -1, .target = -1};
	prepare(plan, &birth);
	set_stage("monitor");
	listen_for_clients();
	make_init(plan, &birth, client);
	close_fd(&birth.cgroup);
	close_fd(&birth.target);
}
