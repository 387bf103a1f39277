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

	int parent = open_in_root(init, "/", O_PATH | O_DIRECTORY, 0);
	char *name = prefix;
	while (parent >= 0) {
		name += strspn(name, "/");
		if (!*name)
			break;
		char *end = name + strcspn(name, "/");
		bool last = end[strspn(end, "/")] == 0;
		char kept = *end;
		*end = 0;
		int child = open_in_root(init, prefix, O_PATH, resolve);
		if (child < 0 && errno == ENOENT) {
			/* EEXIST: a dangling link, or another process was faster; opening again tells which */
			if (make_node(parent, name, last ? node : NODE_DIRECTORY) == 0 || errno == EEXIST)
				child = open_in_root(init, prefix, O_PATH, resolve);
		}
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

/*
 * Puts the mount over a directory of this mount namespace, mostly "/". Paths of the host still resolve below it, until
 * the pivot.
 */
static void attach_root(struct init *init, int mount, const char *place, const char *path)
{
	if (sys_move_mount(mount, "", AT_FDCWD, place, TARE_MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die("move_mount", path);
	init->root = mount;
}

/*
 * fsconfig takes strings of up to 255 bytes; overlayfs follows a link to a longer one. False when this kernel does not
 * know the key.
 */
static bool set_directory(int context, const char *key, const char *path)
{
	AUTO_FD fd = -1;
	char link[64] = "/proc/self/fd/";
	const char *value = path;
	if (strlen(path) > 255) {
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			die("open", path);
		append_number(link, sizeof link, (uint64_t)fd);
		value = link;
	}
	if (sys_fsconfig(context, TARE_FSCONFIG_SET_STRING, key, value, 0) == 0)
		return true;
	if (errno != EINVAL)
		die("fsconfig", path);
	return false;
}

/* Appends the directory's name in /proc/self/fd: short, and without characters that separate options. Dies. */
static void append_directory(char *data, size_t size, const char *path)
{
	/* stays open until execve: the name is a descriptor's */
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die("open", path);
	append(data, size, "/proc/self/fd/");
	append_number(data, size, (uint64_t)fd);
}

/*
 * As mount(2) has it, for kernels that know no "lowerdir+" (before 6.8): one page of options. It needs a place to be
 * mounted on, from where it moves on to the root.
 */
static void overlay_by_options(struct init *init, struct list layers, struct list options, uint64_t attributes)
{
	/* the kernel reads no more; a name takes 18 bytes, so this is enough for two hundred layers */
	char data[4096] = "lowerdir=";
	for (uint32_t i = 0; i < layers.count; i++) {
		if (i)
			append(data, sizeof data, ":");
		append_directory(data, sizeof data, read_string(&layers.items));
	}
	for (uint32_t i = 0; i < options.count; i++) {
		const char *option = read_string(&options.items);
		const char *equals = strchr(option, '=');
		append(data, sizeof data, ",");
		if (strncmp(option, "upperdir=", 9) == 0 || strncmp(option, "workdir=", 8) == 0) {
			append(data, sizeof data, *option == 'u' ? "upperdir=" : "workdir=");
			append_directory(data, sizeof data, equals + 1);
		} else {
			append(data, sizeof data, option);
		}
	}
	if (strlen(data) == sizeof data - 1)
		die_with(E2BIG, "mount", "overlay");
	if (!init->scratch || mount("overlay", init->scratch, "overlay", 0, data) < 0)
		die("mount", "overlay");
	int tree = sys_open_tree(AT_FDCWD, init->scratch, O_CLOEXEC);
	if (tree < 0)
		die("open_tree", init->scratch);
	struct tare_mount_attr attr = {.attr_set = attributes};
	if (attributes && sys_mount_setattr(tree, "", TARE_AT_EMPTY_PATH, &attr) < 0)
		die("mount_setattr", "overlay");
	attach_root(init, tree, "/", "overlay");
}

void root_from_overlay(struct init *init, struct list layers, struct list options, uint64_t attributes)
{
	AUTO_FD context = sys_fsopen("overlay", TARE_FSOPEN_CLOEXEC);
	if (context < 0)
		die("fsopen", "overlay");
	/* what mount tables show */
	if (sys_fsconfig(context, TARE_FSCONFIG_SET_STRING, "source", "overlay", 0) < 0)
		die("fsconfig", "overlay");
	struct list all = layers;
	struct list all_options = options;
	for (uint32_t i = 0; i < layers.count; i++)
		if (!set_directory(context, "lowerdir+", read_string(&layers.items)))
			return overlay_by_options(init, all, options, attributes);
	for (uint32_t i = 0; i < options.count; i++) {
		struct cursor at = options.items;
		const char *option = read_string(&at);
		bool known = true;
		if (strncmp(option, "upperdir=", 9) == 0)
			known = set_directory(context, "upperdir", option + 9);
		else if (strncmp(option, "workdir=", 8) == 0)
			known = set_directory(context, "workdir", option + 8);
		else
			configure(context, (struct list){1, options.items});
		if (!known)
			die_with(EINVAL, "fsconfig", option);
		options.items = at;
	}
	if (sys_fsconfig(context, TARE_FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
		/* before 6.5 any key is taken, and refused only here */
		if (errno == EINVAL)
			return overlay_by_options(init, all, all_options, attributes);
		die("fsconfig", "overlay");
	}
	int mount = sys_fsmount(context, TARE_FSMOUNT_CLOEXEC, (unsigned)attributes);
	if (mount < 0)
		die("fsmount", "overlay");
	attach_root(init, mount, "/", "overlay");
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

void root_propagation(uint32_t propagation)
{
	if (mount(NULL, "/", NULL, propagation, NULL) < 0)
		die("mount", "/");
}
