/* The container's terminal: made in the container's own devpts, its master handed to the monitor. */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

bool send_fd(int socket, const void *data, size_t size, int fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec part = {(void *)(uintptr_t)data, size};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof control.space,
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)size;
}

bool send_descriptor(int socket, char kind, int fd)
{
	return send_fd(socket, &kind, 1, fd);
}

/* The container may have replaced the node by anything: believe only what the descriptor says of itself. */
static int open_master(const struct init *init)
{
	int master = open_in_root(init, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, TARE_RESOLVE_NO_SYMLINKS);
	if (master < 0)
		die("openat2", "/dev/pts/ptmx");
	struct stat status;
	struct statfs fs;
	if (fstat(master, &status) < 0 || fstatfs(master, &fs) < 0)
		die("fstat", "/dev/pts/ptmx");
	if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(5, 2) || fs.f_type != TARE_DEVPTS_MAGIC)
		die_with(ENODEV, "openat2", "/dev/pts/ptmx");
	return master;
}

void make_terminal(struct init *init, uint32_t owner, bool console)
{
	AUTO_FD master = open_master(init);
	int locked = 0;
	if (ioctl(master, TIOCSPTLCK, &locked) < 0)
		die("ioctl", "TIOCSPTLCK");
	/* opens the peer of this very master, whatever /dev/pts/N is by now */
	AUTO_FD slave = ioctl(master, TARE_TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		die("ioctl", "TIOCGPTPEER");
	struct stat status;
	/* 136 to 143: Unix98 pseudo-terminals */
	if (fstat(slave, &status) < 0 || !S_ISCHR(status.st_mode) || major(status.st_rdev) < 136 ||
	    major(status.st_rdev) > 143)
		die_with(ENODEV, "ioctl", "TIOCGPTPEER");
	if (owner && fchown(slave, owner, (gid_t)-1) < 0)
		die("fchown", "the terminal");

	if (console) {
		AUTO_FD place = make_in_root(init, "/dev/console", NODE_FILE, TARE_RESOLVE_NO_SYMLINKS);
		if (place < 0)
			die("openat2", "/dev/console");
		AUTO_FD tree = sys_open_tree(slave, "", TARE_OPEN_TREE_CLONE | TARE_AT_EMPTY_PATH | O_CLOEXEC);
		if (tree < 0)
			die("open_tree", "/dev/console");
		attach_mount(tree, place, "/dev/console");
	}

	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		die("ioctl", "TIOCSCTTY");
	for (int i = 0; i < 3; i++)
		if (dup2(slave, i) < 0)
			die("dup2", "the terminal");
	if (!send_descriptor(init->sync, 'P', master))
		die("sendmsg", "the terminal");
}
