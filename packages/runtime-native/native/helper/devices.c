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
