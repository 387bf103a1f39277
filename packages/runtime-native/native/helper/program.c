/* Becoming the container's program: signals as new, nothing inherited but stdio, found as execvp(3) finds it. */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "init.h"
#include "kernel.h"
#include "monitor.h"
#include "util.h"

/* What a shell says: 127 for "not found", 126 for "found, but cannot be executed". */
__attribute__((noreturn)) static void refuse(int error, const char *path)
{
	die_status(error == ENOENT || error == ENOTDIR ? 127 : 126, error, "execve", path);
}

/* As far as can be told without executing it; the interpreter of a script is not looked at. */
static bool executable(const char *path)
{
	struct stat status;
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 || stat(path, &status) < 0)
		return false;
	if (S_ISREG(status.st_mode))
		return true;
	errno = EACCES;
	return false;
}

void look_up(const char *name, const char *path)
{
	if (strchr(name, '/') || !*name) {
		if (!executable(name))
			refuse(errno, name);
		return;
	}
	int reason = ENOENT;
	for (const char *at = path; at;) {
		const char *end = strchr(at, ':');
		size_t length = end ? (size_t)(end - at) : strlen(at);
		char candidate[PATH_MAX];
		if (length > 0 && length + strlen(name) + 2 <= sizeof candidate) {
			memcpy(candidate, at, length);
			candidate[length] = 0;
			append(candidate, sizeof candidate, "/");
			append(candidate, sizeof candidate, name);
			if (executable(candidate))
				return;
			if (errno == EACCES)
				reason = EACCES;
		}
		at = end ? end + 1 : NULL;
	}
	refuse(reason, name);
}

char **pointers(struct list list)
{
	size_t size = ((size_t)list.count + 1) * sizeof(char *);
	char **array = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (array == MAP_FAILED)
		die("mmap", NULL);
	for (uint32_t i = 0; i < list.count; i++)
		array[i] = (char *)(uintptr_t)read_string(&list.items);
	return array;
}

static const char *search_path(char **environment)
{
	for (; *environment; environment++)
		if (strncmp(*environment, "PATH=", 5) == 0)
			return *environment + 5;
	return "/bin:/usr/bin";
}

static void search(char **arguments, char **environment)
{
	const char *name = arguments[0];
	char denied[PATH_MAX] = "";
	for (const char *at = search_path(environment); at;) {
		const char *end = strchr(at, ':');
		size_t length = end ? (size_t)(end - at) : strlen(at);
		char candidate[PATH_MAX];
		/* an empty entry would mean the working directory, from where nobody expects programs */
		if (length > 0 && length + strlen(name) + 2 <= sizeof candidate) {
			memcpy(candidate, at, length);
			candidate[length] = 0;
			append(candidate, sizeof candidate, "/");
			append(candidate, sizeof candidate, name);
			(void)execve(candidate, arguments, environment);
			int error = errno;
			if (error == EACCES && !*denied)
				memcpy(denied, candidate, sizeof denied);
			/* ENOENT for a file that is there: its interpreter is missing, and that is worth saying */
			bool there = error == ENOENT && faccessat(AT_FDCWD, candidate, F_OK, 0) == 0;
			if (there || (error != ENOENT && error != ENOTDIR && error != EACCES))
				refuse(error, candidate);
		}
		at = end ? end + 1 : NULL;
	}
	if (*denied)
		refuse(EACCES, denied);
	refuse(ENOENT, name);
}

void reset_signals(void)
{
	sigset_t none;
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

void execute(struct list list, struct list names)
{
	char **arguments = pointers(list);
	char **environment = pointers(names);

	/* mark first, close nothing by hand: a failure still has to be reported through the sync socket */
	const unsigned console = the_monitor.flags & STDIO_CONSOLE ? 1 : 0;
	const int count = (int)(the_monitor.further - console);
	for (int i = 0; i < count; i++)
		if (dup2(FURTHER_FD + (int)console + i, 3 + i) < 0)
			die("dup2", NULL);
	if (sys_close_range(3 + (unsigned)count, ~0u, TARE_CLOSE_RANGE_CLOEXEC) < 0)
		die("close_range", NULL);
	reset_signals();

	/* changing the user has cleared it */
	end_with_monitor();
	if (!list.count || !*arguments[0])
		refuse(ENOENT, "");
	if (strchr(arguments[0], '/')) {
		(void)execve(arguments[0], arguments, environment);
		refuse(errno, arguments[0]);
	}
	search(arguments, environment);
	__builtin_unreachable();
}
