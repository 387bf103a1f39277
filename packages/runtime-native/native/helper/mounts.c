/* Mounts: made detached, given their attributes, and only then moved to a place that openat2 has resolved. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

void open_tree_slot(struct init *init, uint32_t slot, const char *path, bool recursive)
{
	unsigned flags = TARE_OPEN_TREE_CLONE | O_CLOEXEC | (recursive ? TARE_AT_RECURSIVE : 0);
	init->trees[slot] = sys_open_tree(AT_FDCWD, path, flags);
	if (init->trees[slot] < 0)
		die("open_tree", path);
}

void inherited_propagation(uint32_t propagation)
{
	if (mount(NULL, "/", NULL, propagation, NULL) < 0)
		die("mount", "/");
}

/* Sets key=value options as strings, others as flags. */
void configure(int context, struct list options)
{
	for (uint32_t i = 0; i < options.count; i++) {
		const char *option = read_string(&options.items);
		const char *equals = strchr(option, '=');
		char key[128];
		size_t length = equals ? (size_t)(equals - option) : strlen(option);
		if (length >= sizeof key)
			die_with(EINVAL, "fsconfig", option);
		memcpy(key, option, length);
		key[length] = 0;
		unsigned command = equals ? TARE_FSCONFIG_SET_STRING : TARE_FSCONFIG_SET_FLAG;
		if (sys_fsconfig(context, command, key, equals ? equals + 1 : NULL, 0) < 0)
			die("fsconfig", option);
	}
}

int new_mount(const char *type, const char *source, struct list options, uint64_t attributes)
{
	AUTO_FD context = sys_fsopen(type, TARE_FSOPEN_CLOEXEC);
	if (context < 0)
		die("fsopen", type);
	if (*source && sys_fsconfig(context, TARE_FSCONFIG_SET_STRING, "source", source, 0) < 0)
		die("fsconfig", source);
	configure(context, options);
	if (sys_fsconfig(context, TARE_FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		die("fsconfig", type);
	int mount = sys_fsmount(context, TARE_FSMOUNT_CLOEXEC, (unsigned)attributes);
	if (mount < 0)
		die("fsmount", type);
	return mount;
}

void attach_mount(int mount, int place, const char *path)
{
	unsigned flags = TARE_MOVE_MOUNT_F_EMPTY_PATH | TARE_MOVE_MOUNT_T_EMPTY_PATH;
	if (sys_move_mount(mount, "", place, "", flags) < 0)
		die("move_mount", path);
}

/* A link to /proc could turn a harmless destination into a file of procfs, and the kernel's knobs with it. */
static int open_destination(const struct init *init, const char *path, uint32_t flags)
{
	int place = make_in_root(init, path, flags & MOUNT_ONTO_FILE ? NODE_FILE : NODE_DIRECTORY,
				 flags & MOUNT_NO_SYMLINKS ? TARE_RESOLVE_NO_SYMLINKS : 0);
	if (place < 0)
		die("openat2", path);
	struct statfs fs;
	if (fstatfs(place, &fs) < 0)
		die("fstatfs", path);
	if (fs.f_type == TARE_PROC_MAGIC && !(flags & MOUNT_OVER_PROC))
		die_with(EPERM, "move_mount", path);
	return place;
}

void mount_tree(struct init *init, struct cursor fields)
{
	uint32_t slot = read_u32(&fields);
	const char *type = read_string(&fields);
	const char *source = read_string(&fields);
	struct list options = read_list(&fields);
	init->trees[slot] = new_mount(type, source, options, read_u64(&fields));
}

static void set_attributes(int mount, const char *path, bool recursive, uint64_t set, uint64_t clear,
			   uint64_t propagation)
{
	if (!set && !clear && !propagation)
		return;
	struct tare_mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = propagation};
	if (sys_mount_setattr(mount, "", TARE_AT_EMPTY_PATH | (recursive ? TARE_AT_RECURSIVE : 0), &attr) < 0)
		die("mount_setattr", path);
}

void mount_new(struct init *init, struct cursor fields)
{
	const char *type = read_string(&fields);
	const char *source = read_string(&fields);
	const char *destination = read_string(&fields);
	struct list options = read_list(&fields);
	uint64_t attributes = read_u64(&fields);
	uint32_t propagation = read_u32(&fields);
	uint32_t flags = read_u32(&fields);
	AUTO_FD place = open_destination(init, destination, flags);
	bool copies = flags & MOUNT_COPY_UP;
	AUTO_FD mount = new_mount(type, source, options, copies ? attributes & ~(uint64_t)TARE_MOUNT_ATTR_RDONLY : attributes);
	if (copies) {
		copy_up(place, mount, destination);
		set_attributes(mount, destination, false, attributes & TARE_MOUNT_ATTR_RDONLY, 0, 0);
	}
	apply_idmap(init, mount, destination);
	set_attributes(mount, destination, false, 0, 0, propagation);
	attach_mount(mount, place, destination);
}

void mount_bind(struct init *init, struct cursor fields)
{
	uint32_t slot = read_u32(&fields);
	const char *destination = read_string(&fields);
	uint64_t set = read_u64(&fields);
	uint64_t clear = read_u64(&fields);
	uint64_t all_set = read_u64(&fields);
	uint64_t all_clear = read_u64(&fields);
	uint32_t propagation = read_u32(&fields);
	uint32_t flags = read_u32(&fields);

	AUTO_FD tree = init->trees[slot];
	init->trees[slot] = -1;
	struct stat status;
	if (fstat(tree, &status) < 0)
		die("fstat", destination);
	struct statfs fs;
	if (flags & MOUNT_PROC && (fstatfs(tree, &fs) < 0 || fs.f_type != TARE_PROC_MAGIC))
		die_with(EPERM, "move_mount", destination);
	/* the kind of the destination is that of the source */
	if (!S_ISDIR(status.st_mode))
		flags |= MOUNT_ONTO_FILE;
	AUTO_FD place = open_destination(init, destination, flags);
	apply_idmap(init, tree, destination);
	set_attributes(tree, destination, false, set, clear, 0);
	set_attributes(tree, destination, true, all_set, all_clear, propagation);
	attach_mount(tree, place, destination);
}

void mount_attributes(struct init *init, struct cursor fields)
{
	const char *path = read_string(&fields);
	uint64_t set = read_u64(&fields);
	uint64_t clear = read_u64(&fields);
	bool recursive = read_u32(&fields) != 0;
	AUTO_FD place = open_in_root(init, path, O_PATH, 0);
	if (place < 0)
		die("openat2", path);
	set_attributes(place, path, recursive, set, clear, 0);
}

/*
 * One small read-only tmpfs per container serves all masked paths. Not /dev/null of the container: whoever can swap
 * that for a link decides what gets mounted. It has to be attached somewhere for parts of it to be cloned: on the
 * scratch directory, which goes with the old root.
 */
static void make_mask(struct init *init)
{
	struct list none = {0};
	init->mask = new_mount("tmpfs", "tmpfs", none, 0);
	if (mkdirat(init->mask, "d", 0555) < 0)
		die("mkdirat", "mask");
	AUTO_FD file = openat(init->mask, "f", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (file < 0)
		die("openat", "mask");
	close_fd(&file);
	set_attributes(init->mask, "mask", false,
		       TARE_MOUNT_ATTR_RDONLY | TARE_MOUNT_ATTR_NOSUID | TARE_MOUNT_ATTR_NODEV | TARE_MOUNT_ATTR_NOEXEC, 0, 0);
	if (!init->scratch || sys_move_mount(init->mask, "", AT_FDCWD, init->scratch, TARE_MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die("move_mount", init->scratch);
}

void mask_path(struct init *init, const char *path)
{
	AUTO_FD place = open_in_root(init, path, O_PATH, 0);
	if (place < 0 && (errno == ENOENT || errno == ENOTDIR))
		return;
	if (place < 0)
		die("openat2", path);
	struct stat status;
	if (fstat(place, &status) < 0)
		die("fstat", path);
	if (init->mask < 0)
		make_mask(init);
	AUTO_FD cover = sys_open_tree(init->mask, S_ISDIR(status.st_mode) ? "d" : "f", TARE_OPEN_TREE_CLONE | O_CLOEXEC);
	if (cover < 0)
		die("open_tree", path);
	attach_mount(cover, place, path);
}

void readonly_path(struct init *init, const char *path)
{
	AUTO_FD place = open_in_root(init, path, O_PATH, 0);
	if (place < 0 && (errno == ENOENT || errno == ENOTDIR))
		return;
	if (place < 0)
		die("openat2", path);
	AUTO_FD tree =
		sys_open_tree(place, "", TARE_OPEN_TREE_CLONE | TARE_AT_RECURSIVE | TARE_AT_EMPTY_PATH | O_CLOEXEC);
	if (tree < 0)
		die("open_tree", path);
	set_attributes(tree, path, true, TARE_MOUNT_ATTR_RDONLY, 0, 0);
	attach_mount(tree, place, path);
}
