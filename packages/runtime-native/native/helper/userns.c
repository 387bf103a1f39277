/* User namespaces: made with the ids that the plan maps, by those who may do it. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/* Words of a map's lines, and the program and the pid before them. */
#define MAX_WORDS (3u * 340u + 3u)

/*
 * A process that nobody may look into has files in procfs that are root's, and an ordinary user cannot even write his
 * own. What can be seen meanwhile is the plan; nobody of the container lives yet.
 */
void own_proc_files(bool own)
{
	/* asked first while still outside, where root is root */
	static int ordinary = -1;
	if (ordinary < 0)
		ordinary = geteuid() != 0;
	if (ordinary && prctl(PR_SET_DUMPABLE, own ? 1 : 0, 0, 0, 0) < 0)
		die("prctl", "PR_SET_DUMPABLE");
}

void become_namespace_root(void)
{
	/* EINVAL: no such id in there; the process stays who it is until it becomes the plan's user */
	if ((setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) && errno != EINVAL)
		die("setresuid", "the user namespace");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		die("prctl", "PR_SET_DUMPABLE");
	/* the change of the user has cleared it */
	end_with_monitor();
}

static void write_file_of(pid_t pid, const char *name, const char *text)
{
	char path[64] = "/proc/";
	append_number(path, sizeof path, (uint64_t)pid);
	append(path, sizeof path, "/");
	append(path, sizeof path, name);
	AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die("open", name);
	/* the kernel takes a map in one write, once */
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die("write", name);
}

__attribute__((noreturn)) static void execute_tool(const char *tool, pid_t pid, const char *map, int output)
{
	static char words[16384];
	static char *arguments[MAX_WORDS];
	char number[24] = "";
	size_t count = 0;
	append_number(number, sizeof number, (uint64_t)pid);
	append(words, sizeof words, map);
	arguments[count++] = (char *)(uintptr_t)tool;
	arguments[count++] = number;
	char *rest = NULL;
	for (char *word = strtok_r(words, " \n", &rest); word && count < MAX_WORDS - 1; word = strtok_r(NULL, " \n", &rest))
		arguments[count++] = word;
	char *environment[] = {NULL};
	for (int i = 0; i < 3; i++)
		if (dup2(output, i) < 0)
			_exit(127);
	(void)execve(tool, arguments, environment);
	_exit(127);
}

/* newuidmap and newgidmap, which may give ids that /etc/subuid and /etc/subgid grant. Dies with what they say. */
static void run_tool(const char *tool, pid_t pid, const char *map)
{
	int output[2];
	if (pipe2(output, O_CLOEXEC) < 0)
		die("pipe2", NULL);
	struct tare_clone_args args = {.exit_signal = SIGCHLD};
	pid_t child = sys_clone3(&args);
	if (child < 0)
		die("clone3", tool);
	if (child == 0)
		execute_tool(tool, pid, map, output[1]);
	(void)close(output[1]);
	char said[512] = "";
	size_t size = 0;
	ssize_t n;
	while (size < sizeof said - 1 && (n = read(output[0], said + size, sizeof said - 1 - size)) > 0)
		size += (size_t)n;
	said[size] = 0;
	(void)close(output[0]);
	int status = -1;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		die_with(ENOENT, "execve", tool);
	if (status != 0) {
		said[strcspn(said, "\n")] = 0;
		die_with(EPERM, strrchr(tool, '/') ? strrchr(tool, '/') + 1 : tool, said);
	}
}

static void write_maps(pid_t pid, struct cursor fields)
{
	uint32_t flags = read_u32(&fields);
	const char *uids = read_string(&fields);
	const char *gids = read_string(&fields);
	const char *uid_tool = read_string(&fields);
	const char *gid_tool = read_string(&fields);
	if (flags & USER_DENY_SETGROUPS)
		write_file_of(pid, "setgroups", "deny");
	if (*uid_tool)
		run_tool(uid_tool, pid, uids);
	else
		write_file_of(pid, "uid_map", uids);
	if (*gid_tool)
		run_tool(gid_tool, pid, gids);
	else
		write_file_of(pid, "gid_map", gids);
}

/* The process that stays outside and writes the maps, because from inside nobody may. */
__attribute__((noreturn)) static void map_for(pid_t pid, int gate, struct cursor fields)
{
	char go;
	/* the end of the pipe: there is no namespace, and its maker has said why */
	if (read(gate, &go, 1) != 1)
		_exit(1);
	write_maps(pid, fields);
	_exit(0);
}

void new_user_namespace(struct cursor fields)
{
	int gate[2];
	if (pipe2(gate, O_CLOEXEC) < 0)
		die("pipe2", NULL);
	const pid_t self = getpid();
	struct tare_clone_args args = {.exit_signal = SIGCHLD};
	pid_t mapper = sys_clone3(&args);
	if (mapper < 0)
		die("clone3", NULL);
	if (mapper == 0) {
		(void)close(gate[1]);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		map_for(self, gate[0], fields);
	}
	(void)close(gate[0]);
	own_proc_files(true);
	if (unshare((int)TARE_CLONE_NEWUSER) < 0)
		die("unshare", "user");
	if (write(gate[1], "", 1) != 1)
		die("write", "user");
	(void)close(gate[1]);
	int status = -1;
	while (waitpid(mapper, &status, 0) < 0 && errno == EINTR)
		;
	/* it has reported what went wrong */
	if (status != 0)
		_exit(126);
	become_namespace_root();
}
