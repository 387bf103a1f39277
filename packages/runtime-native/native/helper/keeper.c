/* A process that makes a namespace and keeps it until it has got a name: what a thread of a larger program cannot do. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "kernel.h"
#include "keeper.h"

/* A user namespace that the new one shall belong to. */
#define OWNER_FD 3

/* Says "R" on stdout once it is there, and lives until its stdin ends. The exit status is the errno of a failure. */
int keep_namespace(const char *kind)
{
	const bool user = strcmp(kind, "user") == 0;
	if (!user && strcmp(kind, "network") != 0)
		return EINVAL;
	if (fcntl(OWNER_FD, F_GETFD) >= 0 && setns(OWNER_FD, (int)TARE_CLONE_NEWUSER) < 0)
		return errno;
	if (unshare((int)(user ? TARE_CLONE_NEWUSER : TARE_CLONE_NEWNET)) < 0)
		return errno;
	/* whoever has started it looks at its namespaces */
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 || write(1, "R", 1) != 1)
		return errno;
	char ignored;
	while (read(0, &ignored, 1) > 0)
		continue;
	return 0;
}
