/* Joining and setting up namespaces and cgroups, from inside the container's process. */
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/*
 * Writing "0" (oneself) to `tasks` moves a single thread without the kernel's global lock over all thread groups, whose
 * waiting for every CPU costs milliseconds; writing a pid to `cgroup.procs` does not.
 */
void join_cgroup(const char *tasks)
{
	AUTO_FD fd = open(tasks, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die("open", tasks);
	if (write(fd, "0", 1) != 1)
		die("write", tasks);
}

void join_namespace(uint64_t kind, const char *path)
{
	AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("open", path);
	if (setns(fd, (int)kind) < 0)
		die("setns", path);
	if (kind == TARE_CLONE_NEWUSER)
		become_namespace_root();
}

void join_target(struct init *init, uint64_t kinds)
{
	if (setns(init->target, (int)kinds) < 0)
		die("setns", NULL);
	if (kinds & TARE_CLONE_NEWUSER)
		become_namespace_root();
	init->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (init->root < 0)
		die("open", "/");
}

/* Not part of clone3: the root of a cgroup namespace is where its maker is, and that has to be the container's cgroup. */
void new_cgroup_namespace(void)
{
	if (unshare((int)TARE_CLONE_NEWCGROUP) < 0)
		die("unshare", "cgroup");
}

void loopback_up(void)
{
	AUTO_FD fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket", "AF_INET");
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		die("ioctl", "lo");
}

void set_hostname(const char *name)
{
	if (sethostname(name, strlen(name)) < 0)
		die("sethostname", name);
}

void set_domainname(const char *name)
{
	if (setdomainname(name, strlen(name)) < 0)
		die("setdomainname", name);
}
