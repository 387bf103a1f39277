/* Overlays: the root of a container as layers of directories, with the ids that they have on the disk or others. */
#include <fcntl.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/* What the directories of one overlay are taken from. */
struct overlay {
	struct init *init;
	struct list layers;
	struct list options;
	/* a user namespace whose ids they get; -1: their own */
	int ids;
	/* what holds the directories of the options, and a mount of it with those ids: they have to be of one mount */
	const char *base;
	int base_mount;
};

enum role { ROLE_LAYER, ROLE_OPTION };

/* A mount of the directory with the overlay's ids, attached where only this process sees it: Linux before 6.15 asks it. */
static int mapped_directory(const struct overlay *overlay, const char *path)
{
	int tree = sys_open_tree(AT_FDCWD, path, TARE_OPEN_TREE_CLONE | O_CLOEXEC);
	if (tree < 0)
		die("open_tree", path);
	map_mount(tree, overlay->ids, false, path);
	char name[24];
	workshop_name(overlay->init, name);
	if (mkdirat(overlay->init->workshop, name, 0700) < 0)
		die("mkdirat", path);
	if (sys_move_mount(tree, "", overlay->init->workshop, name, TARE_MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die("move_mount", path);
	return tree;
}

/* Opens a directory as the overlay shall see it; dies. */
static int open_directory(struct overlay *overlay, const char *path, enum role role)
{
	int fd;
	if (overlay->ids < 0) {
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	} else if (role == ROLE_LAYER) {
		return mapped_directory(overlay, path);
	} else {
		if (overlay->base_mount < 0)
			overlay->base_mount = mapped_directory(overlay, overlay->base);
		const char *rest = path + strlen(overlay->base);
		fd = openat(overlay->base_mount, rest + strspn(rest, "/"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		die("open", path);
	return fd;
}

/*
 * fsconfig takes strings of up to 255 bytes; overlayfs follows a link to a longer one, and to a mount without a name.
 * False when this kernel does not know the key.
 */
static bool set_directory(struct overlay *overlay, int context, const char *key, const char *path, enum role role)
{
	AUTO_FD fd = -1;
	char link[64] = "/proc/self/fd/";
	const char *value = path;
	if (overlay->ids >= 0 || strlen(path) > 255) {
		fd = open_directory(overlay, path, role);
		append_number(link, sizeof link, (uint64_t)fd);
		value = link;
	}
	if (sys_fsconfig(context, TARE_FSCONFIG_SET_STRING, key, value, 0) == 0)
		return true;
	if (errno != EINVAL)
		die("fsconfig", path);
	return false;
}

/* Appends the directory's name in /proc/self/fd: short, and without characters that separate options. */
static void append_directory(struct overlay *overlay, char *data, size_t size, const char *path, enum role role)
{
	/* stays open until execve: the name is a descriptor's */
	int fd = open_directory(overlay, path, role);
	append(data, size, "/proc/self/fd/");
	append_number(data, size, (uint64_t)fd);
}

/* The directory that an option names, and the length of what is before it; NULL for another option. */
static const char *directory_of(const char *option, size_t *key_length)
{
	static const char *const keys[] = {"upperdir=", "workdir="};
	for (int i = 0; i < 2; i++) {
		*key_length = strlen(keys[i]);
		if (strncmp(option, keys[i], *key_length) == 0)
			return option + *key_length;
	}
	return NULL;
}

/*
 * As mount(2) has it, for kernels that know no "lowerdir+" (before 6.8): one page of options. It needs a place to be
 * mounted on, from where a clone of it is taken.
 */
static int overlay_by_options(struct overlay *overlay, uint64_t attributes)
{
	/* the kernel reads no more; a name takes 18 bytes, so this is enough for two hundred layers */
	char data[4096] = "lowerdir=";
	struct list layers = overlay->layers;
	for (uint32_t i = 0; i < layers.count; i++) {
		if (i)
			append(data, sizeof data, ":");
		append_directory(overlay, data, sizeof data, read_string(&layers.items), ROLE_LAYER);
	}
	struct list options = overlay->options;
	for (uint32_t i = 0; i < options.count; i++) {
		const char *option = read_string(&options.items);
		size_t key_length;
		const char *path = directory_of(option, &key_length);
		append(data, sizeof data, ",");
		if (path) {
			append(data, sizeof data, *option == 'u' ? "upperdir=" : "workdir=");
			append_directory(overlay, data, sizeof data, path, ROLE_OPTION);
		} else {
			append(data, sizeof data, option);
		}
	}
	if (strlen(data) == sizeof data - 1)
		die_with(E2BIG, "mount", "overlay");
	const char *scratch = overlay->init->scratch;
	if (!scratch || mount("overlay", scratch, "overlay", 0, data) < 0)
		die("mount", "overlay");
	int tree = sys_open_tree(AT_FDCWD, scratch, TARE_OPEN_TREE_CLONE | O_CLOEXEC);
	if (tree < 0)
		die("open_tree", scratch);
	if (umount2(scratch, MNT_DETACH) < 0)
		die("umount2", scratch);
	struct tare_mount_attr attr = {.attr_set = attributes};
	if (attributes && sys_mount_setattr(tree, "", TARE_AT_EMPTY_PATH, &attr) < 0)
		die("mount_setattr", "overlay");
	return tree;
}

/* A detached mount; dies. */
static int make_overlay(struct overlay *overlay, uint64_t attributes)
{
	AUTO_FD context = sys_fsopen("overlay", TARE_FSOPEN_CLOEXEC);
	if (context < 0)
		die("fsopen", "overlay");
	/* what mount tables show */
	if (sys_fsconfig(context, TARE_FSCONFIG_SET_STRING, "source", "overlay", 0) < 0)
		die("fsconfig", "overlay");
	struct list layers = overlay->layers;
	for (uint32_t i = 0; i < layers.count; i++)
		if (!set_directory(overlay, context, "lowerdir+", read_string(&layers.items), ROLE_LAYER))
			return overlay_by_options(overlay, attributes);
	struct list options = overlay->options;
	for (uint32_t i = 0; i < options.count; i++) {
		struct list one = {1, options.items};
		const char *option = read_string(&options.items);
		size_t key_length;
		const char *path = directory_of(option, &key_length);
		if (!path)
			configure(context, one);
		else if (!set_directory(overlay, context, *option == 'u' ? "upperdir" : "workdir", path, ROLE_OPTION))
			die_with(EINVAL, "fsconfig", option);
	}
	if (sys_fsconfig(context, TARE_FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
		/* before 6.5 any key is taken, and refused only here */
		if (errno == EINVAL)
			return overlay_by_options(overlay, attributes);
		die("fsconfig", "overlay");
	}
	int mount = sys_fsmount(context, TARE_FSMOUNT_CLOEXEC, (unsigned)attributes);
	if (mount < 0)
		die("fsmount", "overlay");
	return mount;
}

void root_from_overlay(struct init *init, struct list layers, struct list options, uint64_t attributes)
{
	struct overlay overlay = {init, layers, options, -1, "", -1};
	attach_root(init, make_overlay(&overlay, attributes), "/", "overlay");
}

/*
 * The overlay works as who has mounted it, and root has no id among the mapped ones: what it makes in its directories
 * then has an owner. The change of the user takes away the power over files, and the wish to end with the monitor.
 */
static void work_as(uint32_t uid, uint32_t gid)
{
	struct tare_cap_header header = {.version = TARE_CAPABILITY_VERSION_3};
	struct tare_cap_data data[2];
	if (syscall(SYS_capget, &header, data) < 0)
		die("capget", NULL);
	(void)setfsgid(gid);
	(void)setfsuid(uid);
	if (syscall(SYS_capset, &header, data) < 0)
		die("capset", NULL);
	end_with_monitor();
}

void overlay_tree(struct init *init, struct cursor fields)
{
	uint32_t slot = read_u32(&fields);
	struct list layers = read_list(&fields);
	struct list options = read_list(&fields);
	uint64_t attributes = read_u64(&fields);
	const char *base = read_string(&fields);
	uint32_t map = read_u32(&fields);
	uint32_t uid = read_u32(&fields);
	uint32_t gid = read_u32(&fields);
	AUTO_FD ids = map ? take_slot(init, map - 1) : -1;
	struct overlay overlay = {init, layers, options, ids, base, -1};
	work_as(uid, gid);
	init->trees[slot] = make_overlay(&overlay, attributes);
	work_as(0, 0);
	close_fd(&overlay.base_mount);
}
