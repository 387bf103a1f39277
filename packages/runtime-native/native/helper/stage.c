/*
 * The stage: a process between the monitor and the container's, when that one shall live in a user namespace or with
 * clocks of its own. It starts as whoever made the container and does what needs that one's power or that one's view of
 * the host; then it enters the user namespace, makes its child in there, and is gone. What it has opened and limited,
 * the child inherits.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "init.h"
#include "kernel.h"
#include "monitor.h"
#include "util.h"

/* In the stage this does not return; in the child it does, in the new namespaces. */
void make_child(struct init *init, uint64_t namespaces)
{
	int pidfd = -1;
	/* the child says nothing to the monitor before that one knows of it */
	int gate[2];
	if (pipe2(gate, O_CLOEXEC) < 0)
		die("pipe2", NULL);
	/* a sibling: the monitor's child (or that one's maker's), as it would be without a stage */
	struct tare_clone_args args = {
		.flags = namespaces | TARE_CLONE_PIDFD | TARE_CLONE_PARENT,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
	};
	pid_t pid = sys_clone3(&args);
	if (pid < 0)
		die("clone3", NULL);
	if (pid > 0) {
		uint8_t message[5] = {'B'};
		put_u32(message + 1, (uint32_t)pid);
		if (!send_fd(init->sync, message, sizeof message, pidfd)) {
			(void)sys_pidfd_send_signal(pidfd, SIGKILL);
			_exit(126);
		}
		(void)write_all(gate[1], "", 1);
		_exit(0);
	}
	char go;
	(void)close(gate[1]);
	if (read(gate[0], &go, 1) != 1)
		_exit(126);
	(void)close(gate[0]);
	init->stage = false;
	/* of the pid namespace outside */
	close_fd(&init->proc);
	close_fd(&init->workshop);
	end_with_monitor();
	stand_alone();
}

/* So that the user may open /dev/stdout again: in a user namespace nobody can give away what is of an id outside. */
void stdio_owner(uint32_t uid, uint32_t gid)
{
	const bool inherited = the_monitor.flags & STDIO_INHERIT;
	for (int i = 0; i < 3; i++) {
		struct stat status;
		if (fstat(i, &status) < 0 || S_ISCHR(status.st_mode) || S_ISREG(status.st_mode))
			continue;
		/* what is the caller's and cannot be given away stays as it is */
		if ((inherited || S_ISFIFO(status.st_mode)) && fchown(i, uid, gid) < 0 && !inherited)
			die("fchown", "stdio");
	}
}

void private_mounts(void)
{
	if (unshare((int)TARE_CLONE_NEWNS) < 0)
		die("unshare", "mount");
	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		die("mount", "/");
}

/* Clocks can be shifted only while nobody lives in the namespace: the child will be the first. */
void new_time_namespace(const char *offsets)
{
	if (unshare((int)TARE_CLONE_NEWTIME) < 0)
		die("unshare", "time");
	own_proc_files(true);
	AUTO_FD fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die("open", "/proc/self/timens_offsets");
	if (!write_all(fd, offsets, strlen(offsets)))
		die("write", "/proc/self/timens_offsets");
	own_proc_files(false);
}

void workshop_name(struct init *init, char *name)
{
	if (init->workshop < 0) {
		struct list none = {0};
		init->workshop = new_mount("tmpfs", "tmpfs", none, 0);
		unsigned flags = TARE_MOVE_MOUNT_F_EMPTY_PATH;
		if (!init->scratch || sys_move_mount(init->workshop, "", AT_FDCWD, init->scratch, flags) < 0)
			die("move_mount", init->scratch);
	}
	*name = 0;
	append_number(name, 24, init->workshop_names++);
}

int take_slot(struct init *init, uint32_t slot)
{
	int fd = slot < PLAN_MAX_SLOTS ? init->trees[slot] : -1;
	if (fd < 0)
		die_with(EBADF, "open_tree", NULL);
	init->trees[slot] = -1;
	return fd;
}
