/*
 * Pid 1 of a container that wants one: starts the program, hands signals on to it, reaps every orphan, and ends as the
 * program ended. The kernel gives pid 1 no default action for signals, so a program that handles none could not be
 * stopped in that place.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reaper.h"
#include "util.h"

/* Raised by this program's own faults, or by writing to the terminal from the background: not for handing on. */
static const int OWN_SIGNALS[] = { SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU };

/* What a shell answers for a program that cannot be executed. */
enum { NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

__attribute__((noreturn)) static void become(char **argv, const sigset_t *mask)
{
	/* a process group of its own, in front of the terminal if there is one: Ctrl-C goes to the program, not to pid 1 */
	(void)setpgid(0, 0);
	(void)tcsetpgrp(STDIN_FILENO, getpgrp());
	(void)signal(SIGTTIN, SIG_DFL);
	(void)signal(SIGTTOU, SIG_DFL);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	(void)execvp(argv[0], argv);
	int error = errno;
	char text[512] = "";
	append(text, sizeof text, "exec ");
	append(text, sizeof text, argv[0]);
	append(text, sizeof text, ": ");
	append(text, sizeof text, strerror(error));
	append(text, sizeof text, "\n");
	(void)write_all(STDERR_FILENO, text, strlen(text));
	_exit(error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
}

/* Reaps all that has ended. True when the program was among them; its exit status is then in *status. */
static bool reap(pid_t program, int *status)
{
	bool ended = false;
	int how;
	pid_t pid;
	while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
		if (pid != program)
			continue;
		ended = true;
		*status = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
	}
	return ended;
}

int reaper_run(char **argv)
{
	sigset_t waited;
	sigset_t before;
	(void)sigfillset(&waited);
	for (size_t i = 0; i < sizeof OWN_SIGNALS / sizeof *OWN_SIGNALS; i++)
		(void)sigdelset(&waited, OWN_SIGNALS[i]);
	(void)sigprocmask(SIG_SETMASK, &waited, &before);
	/* the hand-over of the terminal must not stop the one that hands it over */
	(void)signal(SIGTTIN, SIG_IGN);
	(void)signal(SIGTTOU, SIG_IGN);

	pid_t program = fork();
	if (program < 0)
		return NOT_EXECUTABLE;
	if (program == 0)
		become(argv, &before);
	for (;;) {
		int status = 0;
		int number = sigwaitinfo(&waited, NULL);
		if (number == SIGCHLD) {
			if (reap(program, &status))
				return status;
		} else if (number > 0) {
			/* it may have ended a moment ago; its SIGCHLD is next */
			(void)kill(program, number);
		}
	}
}
