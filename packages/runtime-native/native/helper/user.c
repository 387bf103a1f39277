/* Working directory, uid, gid, groups. */
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/* NGROUPS_MAX of the kernel. */
#define MAX_GROUPS 65536u
static gid_t groups[MAX_GROUPS];

/* Opened and then entered, after the pivot, so that it cannot be a descriptor of the host in disguise. */
void working_directory(const struct init *init, const char *path)
{
	AUTO_FD fd = open_in_root(init, path, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		die("openat2", path);
	if (fchdir(fd) < 0)
		die("fchdir", path);
	char where[PATH_MAX];
	/* a directory outside the root is "(unreachable)/…" */
	if (syscall(SYS_getcwd, where, sizeof where) < 0 || where[0] != '/')
		die_with(EXDEV, "getcwd", path);
}

void become_user(uint32_t uid, uint32_t gid, struct bytes further, uint32_t flags)
{
	/* a process may open its own stdio again through /dev/stdout, whoever it runs as */
	for (int i = 0; uid && i < 3; i++) {
		struct stat status;
		if (fstat(i, &status) == 0 && S_ISFIFO(status.st_mode) && fchown(i, uid, (gid_t)-1) < 0)
			die("fchown", "stdio");
	}
	size_t count = further.size / 4;
	if (further.size % 4 || count > MAX_GROUPS)
		die_with(EINVAL, "setgroups", NULL);
	for (size_t i = 0; i < count; i++)
		groups[i] = get_u32(further.data + 4 * i);
	if (!(flags & USER_DENY_SETGROUPS) && setgroups(count, groups) < 0)
		die("setgroups", NULL);
	if (setresgid(gid, gid, gid) < 0)
		die("setresgid", NULL);
	/* the capabilities of the spec are set later, and may be more than none for another user than root */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		die("prctl", "PR_SET_KEEPCAPS");
	if (setresuid(uid, uid, uid) < 0)
		die("setresuid", NULL);
}
