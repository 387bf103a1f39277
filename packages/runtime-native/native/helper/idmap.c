/*
 * Ids of a mount as the spec maps them. The kernel takes a mapping only in the form of a user namespace, and a user
 * namespace begins with a process: one is made that does nothing, and ends as soon as its namespace is open.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

static void write_map(int process, const char *name, const char *map)
{
	AUTO_FD fd = openat(process, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die("openat", name);
	/* the kernel takes a map in one write, once */
	if (write(fd, map, strlen(map)) != (ssize_t)strlen(map))
		die("write", name);
}

static pid_t make_process(void)
{
	struct tare_clone_args args = {.flags = TARE_CLONE_NEWUSER, .exit_signal = SIGCHLD};
	pid_t pid = sys_clone3(&args);
	if (pid < 0)
		die("clone3", "user");
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)pause();
	}
	return pid;
}

/* Before the root is in its place: a process whose root is not that of its mount namespace may make no user namespace. */
void open_id_map(struct init *init, uint32_t slot, const char *uids, const char *gids)
{
	pid_t pid = make_process();
	char path[32] = "";
	append_number(path, sizeof path, (uint64_t)pid);
	AUTO_FD process = open_private_proc(init, path, O_PATH | O_DIRECTORY);
	write_map(process, "uid_map", uids);
	write_map(process, "gid_map", gids);
	init->trees[slot] = openat(process, "ns/user", O_RDONLY | O_CLOEXEC);
	if (init->trees[slot] < 0)
		die("openat", "ns/user");
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void map_next_mount(struct init *init, uint32_t slot, bool recursive)
{
	init->idmap = init->trees[slot];
	init->trees[slot] = -1;
	init->idmap_recursive = recursive;
}

void map_mount(int mount, int ids, bool recursive, const char *path)
{
	struct tare_mount_attr attr = {.attr_set = TARE_MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)ids};
	/* EINVAL: a file system that cannot do it, which the caller says in other words than of a wrong option */
	if (sys_mount_setattr(mount, "", TARE_AT_EMPTY_PATH | (recursive ? TARE_AT_RECURSIVE : 0), &attr) < 0)
		die(errno == EINVAL ? "idmap" : "mount_setattr", path);
}

void apply_idmap(struct init *init, int mount, const char *path)
{
	if (init->idmap < 0)
		return;
	map_mount(mount, init->idmap, init->idmap_recursive, path);
	close_fd(&init->idmap);
}

void map_tree(struct init *init, uint32_t slot, uint32_t map, bool recursive, const char *place)
{
	int tree = take_slot(init, slot);
	AUTO_FD ids = take_slot(init, map);
	map_mount(tree, ids, recursive, place);
	init->trees[slot] = tree;
}
