/*
 * tare-init: the one program beside every container. Executed from a sealed memfd, never from a path, as
 *
 *   tare-init monitor [N]   descriptor 3: the launch plan, a sealed memfd
 *                           descriptor 4: a stream socket to whoever makes the container
 *                           descriptor 5: the state directory of the container or exec'd process
 *                           N more: see STDIO_CONSOLE, and what the process shall inherit as 3, 4, …
 *   tare-init hook DIRECTORY PROGRAM NAME …
 *                           runs a hook of the runtime's namespaces in a session of its own, called NAME
 *   tare-init namespace user|network
 *                           keeps a new namespace until its stdin ends; descriptor 3: the user namespace it belongs to
 *   tare-init check-plan    reads a plan from stdin; says whether it would be accepted
 *   tare-init operations    prints the table of operations
 *   tare-init -- PROGRAM …  runs a program as pid 1 should: inside a container, where the file is bound for this
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor.h"
#include "keeper.h"
#include "reaper.h"
#include "util.h"

#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#define F_SEAL_SHRINK 2
#define F_SEAL_WRITE 8
#endif

enum { PLAN_FD = 3, CLIENT_FD = 4, STATE_FD = 5 };

static void say(int fd, const char *text)
{
	(void)write_all(fd, text, strlen(text));
}

/* A plan that could still change after its check would be no plan: both seals must be there. */
static struct plan map_plan(void)
{
	int seals = fcntl(PLAN_FD, F_GET_SEALS);
	if (seals < 0)
		die("fcntl", "the plan");
	if (!(seals & F_SEAL_WRITE) || !(seals & F_SEAL_SHRINK))
		die_with(EPERM, "fcntl", "the plan is not sealed");
	struct stat status;
	if (fstat(PLAN_FD, &status) < 0)
		die("fstat", "the plan");
	if (status.st_size <= 0 || status.st_size > (off_t)PLAN_MAX_SIZE)
		die_with(EFBIG, "mmap", "the plan");
	void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, PLAN_FD, 0);
	if (bytes == MAP_FAILED)
		die("mmap", "the plan");
	struct plan plan;
	const char *reason;
	if (!plan_check(bytes, (size_t)status.st_size, &plan, &reason))
		die_with(EINVAL, "decode", reason);
	return plan;
}

static int check_plan(void)
{
	static uint8_t bytes[PLAN_MAX_SIZE + 1];
	size_t size = 0;
	ssize_t n;
	while (size < sizeof bytes && (n = read(0, bytes + size, sizeof bytes - size)) != 0) {
		if (n < 0)
			return 2;
		size += (size_t)n;
	}
	struct plan plan;
	const char *reason;
	if (plan_check(bytes, size, &plan, &reason))
		return 0;
	say(2, "refused: ");
	say(2, reason);
	say(2, "\n");
	return 1;
}

static int print_operations(void)
{
#define X(name, number, fields) say(1, #name " " #number " " fields "\n");
	OPERATIONS(X)
#undef X
	return 0;
}

/* Scripts are hooks too, and those cannot be executed from a descriptor that closes itself. */
static int run_hook_program(char **argv)
{
	(void)setsid();
	if (chdir(argv[0]) == 0)
		(void)execve(argv[1], argv + 2, environ);
	say(2, strerror(errno));
	return 127;
}

int main(int argc, char **argv)
{
	const char *role = argc > 1 ? argv[1] : "";
	if (strcmp(role, "monitor") == 0) {
		report_with(REPORT_CLIENT, CLIENT_FD);
		(void)prctl(PR_SET_NAME, "tare-monitor", 0, 0, 0);
		struct plan plan = map_plan();
		the_monitor.further = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
		monitor_run(&plan, CLIENT_FD, STATE_FD);
	}
	if (strcmp(role, "--") == 0 && argc > 2)
		return reaper_run(argv + 2);
	if (strcmp(role, "hook") == 0 && argc > 4)
		return run_hook_program(argv + 2);
	if (strcmp(role, "namespace") == 0 && argc > 2)
		return keep_namespace(argv[2]);
	if (strcmp(role, "check-plan") == 0)
		return check_plan();
	if (strcmp(role, "operations") == 0)
		return print_operations();
	say(2, "tare-init belongs to @tare/runtime-native, which starts it; it has no use by itself\n");
	return 2;
}
