/* What is written to procfs (sysctls, OOM score, security labels), and resource limits. */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/*
 * A write to /proc by its path can be made to land elsewhere, or in another file of procfs, by whoever mounts over it.
 * Our own instance is attached nowhere, so nothing can be mounted on it.
 */
static int private_proc(struct init *init)
{
	if (init->proc >= 0)
		return init->proc;
	struct list none = {0};
	init->proc = new_mount("proc", "proc", none,
			       TARE_MOUNT_ATTR_NOSUID | TARE_MOUNT_ATTR_NODEV | TARE_MOUNT_ATTR_NOEXEC);
	struct statfs fs;
	if (fstatfs(init->proc, &fs) < 0)
		die("fstatfs", "proc");
	if (fs.f_type != TARE_PROC_MAGIC)
		die_with(ENODEV, "fstatfs", "proc");
	return init->proc;
}

int open_private_proc(struct init *init, const char *path, uint64_t flags)
{
	int fd = sys_openat2(private_proc(init), path, flags | O_CLOEXEC, 0,
			     TARE_RESOLVE_BENEATH | TARE_RESOLVE_NO_XDEV | TARE_RESOLVE_NO_MAGICLINKS);
	if (fd < 0)
		die("openat2", path);
	return fd;
}

static void write_proc(struct init *init, const char *path, const char *value)
{
	AUTO_FD fd = open_private_proc(init, path, O_WRONLY);
	if (!write_all(fd, value, strlen(value)))
		die("write", path);
}

void write_sysctl(struct init *init, const char *name, const char *value)
{
	char path[512] = "sys/";
	append(path, sizeof path, name);
	write_proc(init, path, value);
}

void write_oom_score(struct init *init, const char *value)
{
	if (!init->stage)
		return write_proc(init, "self/oom_score_adj", value);
	/* still among the mounts of the host, and possibly without the right to mount a procfs */
	own_proc_files(true);
	AUTO_FD fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die("open", "/proc/self/oom_score_adj");
	if (!write_all(fd, value, strlen(value)))
		die("write", "/proc/self/oom_score_adj");
	own_proc_files(false);
}

void write_exec_label(struct init *init, const char *file, const char *label)
{
	char path[64] = "self/attr/";
	append(path, sizeof path, file);
	write_proc(init, path, label);
}

void set_limit(uint32_t resource, uint64_t soft, uint64_t hard)
{
	struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};
	if (setrlimit((int)resource, &limit) < 0)
		die("setrlimit", NULL);
}

void limit_room(uint32_t resource, uint64_t hard)
{
	struct rlimit limit;
	if (getrlimit((int)resource, &limit) < 0)
		die("getrlimit", NULL);
	if (limit.rlim_max >= hard)
		return;
	limit.rlim_max = hard;
	if (setrlimit((int)resource, &limit) < 0)
		die("setrlimit", NULL);
}
