/*
 * The container's root: where it comes from, how paths in it are resolved, how it becomes "/".
 *
 * Nothing below the root is ever named to the kernel by a plain path. Its owner is the image, which may hold a symbolic
 * link anywhere, and other containers may share parts of it and change them at any moment: openat2 resolves as if the
 * root were already "/", and everything else works on the descriptor that comes out.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

int open_in_root(const struct init *init, const char *path, uint64_t flags, uint64_t resolve)
{
	resolve |= TARE_RESOLVE_IN_ROOT | TARE_RESOLVE_NO_MAGICLINKS;
	/* EAGAIN: something was renamed while ".." was being resolved, so the kernel could not tell; 32 is plenty */
	int fd = -1;
	for (int attempt = 0; attempt < 32; attempt++) {
		fd = sys_openat2(init->root, path, flags | O_CLOEXEC, 0, resolve);
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd;
}

static int make_node(int parent, const char *name, enum node node)
{
	if (node == NODE_DIRECTORY)
		return mkdirat(parent, name, 0755);
	AUTO_FD fd = openat(parent, name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	return fd < 0 ? -1 : 0;
}

int make_in_root(const struct init *init, const char *path, enum node node, uint64_t resolve)
{
	int found = open_in_root(init, path, O_PATH, resolve);
	if (found >= 0 || errno != ENOENT)
		return found;

	char prefix[PATH_MAX];
	size_t length = strlen(path);
	if (length >= sizeof prefix) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(prefix, path, length + 1);

	/* up to what is there … */
	size_t at = length;
	int parent;
	do {
		while (at > 0 && prefix[at - 1] == '/')
			at--;
		while (at > 0 && prefix[at - 1] != '/')
			at--;
		prefix[at] = 0;
		parent = open_in_root(init, at > 0 ? prefix : "/", O_PATH | O_DIRECTORY, resolve);
		prefix[at] = path[at];
	} while (parent < 0 && errno == ENOENT && at > 0);

	/* … and down again, with what is missing made */
	char *name = prefix + at;
	while (parent >= 0) {
		name += strspn(name, "/");
		if (!*name)
			break;
		char *end = name + strcspn(name, "/");
		bool last = end[strspn(end, "/")] == 0;
		char kept = *end;
		*end = 0;
		/* EEXIST: a dangling link, or another process was faster; opening it tells which */
		int child = -1;
		if (make_node(parent, name, last ? node : NODE_DIRECTORY) == 0 || errno == EEXIST)
			child = open_in_root(init, prefix, O_PATH, resolve);
		close_fd(&parent);
		*end = kept;
		parent = child;
		name = end;
	}
	return parent;
}

int open_parent(const struct init *init, const char *path, const char **name)
{
	char parent[PATH_MAX] = "/";
	const char *slash = strrchr(path, '/');
	if (!slash || (size_t)(slash - path) >= sizeof parent)
		die_with(EINVAL, "openat2", path);
	if (slash > path) {
		memcpy(parent, path, (size_t)(slash - path));
		parent[slash - path] = 0;
	}
	int fd = make_in_root(init, parent, NODE_DIRECTORY, TARE_RESOLVE_NO_SYMLINKS);
	if (fd < 0)
		die("openat2", parent);
	*name = slash + 1;
	return fd;
}

void attach_root(struct init *init, int mount, const char *place, const char *path)
{
	if (sys_move_mount(mount, "", AT_FDCWD, place, TARE_MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die("move_mount", path);
	init->root = mount;
}

void root_from_tree(struct init *init, uint32_t slot, uint64_t attributes, const char *place)
{
	int tree = init->trees[slot];
	struct tare_mount_attr attr = {.attr_set = attributes, .propagation = MS_PRIVATE};
	if (sys_mount_setattr(tree, "", TARE_AT_EMPTY_PATH | TARE_AT_RECURSIVE, &attr) < 0)
		die("mount_setattr", "/");
	init->trees[slot] = -1;
	attach_root(init, tree, place, place);
}

/*
 * pivot_root(".", ".") stacks the old root on the new one, so it needs no directory for it; then the old root is taken
 * off, and with it everything of the host.
 */
void pivot(struct init *init)
{
	AUTO_FD old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (old < 0)
		die("open", "/");
	if (fchdir(init->root) < 0)
		die("fchdir", "the new root");
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		die("pivot_root", "the new root");
	if (fchdir(old) < 0)
		die("fchdir", "the old root");
	if (umount2(".", MNT_DETACH) < 0)
		die("umount2", "the old root");
	if (chdir("/") < 0)
		die("chdir", "/");
}

void root_joined(struct init *init)
{
	init->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (init->root < 0)
		die("open", "/");
	if (chdir("/") < 0)
		die("chdir", "/");
}

/* The root of an initramfs cannot be pivoted from. Whoever may chroot gets out of this one. */
void change_root(const struct init *init)
{
	if (fchdir(init->root) < 0 || chroot(".") < 0 || chdir("/") < 0)
		die("chroot", "the new root");
}

void root_propagation(uint32_t propagation)
{
	if (mount(NULL, "/", NULL, propagation, NULL) < 0)
		die("mount", "/");
}
