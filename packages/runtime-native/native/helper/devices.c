/* Device nodes, directories and links below the container's root. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

void make_device(struct init *init, struct cursor fields)
{
	const char *path = read_string(&fields);
	mode_t mode = (mode_t)read_u32(&fields);
	uint32_t major = read_u32(&fields);
	uint32_t minor = read_u32(&fields);
	uint32_t uid = read_u32(&fields);
	uint32_t gid = read_u32(&fields);
	const char *name;
	AUTO_FD parent = open_parent(init, path, &name);
	if (mknodat(parent, name, mode, makedev(major, minor)) == 0) {
		if ((uid || gid) && fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
			die("fchownat", path);
		return;
	}
	if (errno != EEXIST)
		die("mknodat", path);
	/* a default device that the spec names again, or one of the image: fine when it is the same */
	struct stat status;
	if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		die("fstatat", path);
	if ((status.st_mode & S_IFMT) != (mode & S_IFMT) || status.st_rdev != makedev(major, minor))
		die_with(EEXIST, "mknodat", path);
}

/* As a mount of a node that the container did not make: in a user namespace nobody can, or use one that is there. */
void device_tree(struct init *init, struct cursor fields)
{
	uint32_t slot = read_u32(&fields);
	mode_t mode = (mode_t)read_u32(&fields);
	uint32_t major = read_u32(&fields);
	uint32_t minor = read_u32(&fields);
	uint32_t uid = read_u32(&fields);
	uint32_t gid = read_u32(&fields);
	char name[24];
	workshop_name(init, name);
	if (mknodat(init->workshop, name, mode, makedev(major, minor)) < 0)
		die("mknodat", NULL);
	if (fchownat(init->workshop, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		die("fchownat", NULL);
	init->trees[slot] = sys_open_tree(init->workshop, name, TARE_OPEN_TREE_CLONE | O_CLOEXEC);
	if (init->trees[slot] < 0)
		die("open_tree", NULL);
}

void host_device(struct init *init, struct cursor fields)
{
	uint32_t slot = read_u32(&fields);
	const char *path = read_string(&fields);
	mode_t mode = (mode_t)read_u32(&fields);
	uint32_t major = read_u32(&fields);
	uint32_t minor = read_u32(&fields);
	open_tree_slot(init, slot, path, false);
	struct stat status;
	if (fstat(init->trees[slot], &status) < 0)
		die("fstat", path);
	if ((status.st_mode & S_IFMT) != (mode & S_IFMT) || status.st_rdev != makedev(major, minor))
		die_with(ENODEV, "open_tree", path);
}

void make_directory(struct init *init, const char *path)
{
	AUTO_FD fd = make_in_root(init, path, NODE_DIRECTORY, 0);
	if (fd < 0)
		die("mkdirat", path);
}

void make_symlink(struct init *init, const char *target, const char *path)
{
	const char *name;
	AUTO_FD parent = open_parent(init, path, &name);
	if (symlinkat(target, parent, name) < 0 && errno != EEXIST)
		die("symlinkat", path);
}
