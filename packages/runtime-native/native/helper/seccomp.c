/* Loads a filter that the compiler has made; what it means is the compiler's business. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/* BPF_MAXINSNS */
#define MAX_INSTRUCTIONS 4096u
static struct tare_filter filter[MAX_INSTRUCTIONS];

/* Until there is a listener, or none is to come. */
enum { PENDING = -1, NONE = -2 };

static long set_filter(uint32_t flags, const struct tare_filter_program *program)
{
	return syscall(SYS_seccomp, TARE_SECCOMP_SET_MODE_FILTER, flags, program);
}

/* Sends what shows up in `listener` to the monitor. */
__attribute__((noreturn)) static void courier(const struct init *init, const volatile int *listener)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	const struct timespec moment = {.tv_nsec = 50000};
	while (*listener == PENDING)
		(void)nanosleep(&moment, NULL);
	_exit(*listener == NONE || send_descriptor(init->sync, 'N', *listener) ? 0 : 1);
}

/*
 * Once the filter is loaded, any call of this process may wait for the listener's word, also the call that would hand
 * the listener over. So somebody without the filter does that, who shares this process's descriptors.
 */
static void load_with_listener(const struct init *init, uint32_t flags, const struct tare_filter_program *program)
{
	volatile int *listener =
		mmap(NULL, sizeof *listener, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (listener == MAP_FAILED)
		die("mmap", NULL);
	*listener = PENDING;
	struct tare_clone_args args = {.flags = TARE_CLONE_FILES, .exit_signal = SIGCHLD};
	pid_t pid = sys_clone3(&args);
	if (pid < 0)
		die("clone3", NULL);
	if (pid == 0)
		courier(init, listener);
	long fd = set_filter(flags, program);
	*listener = fd < 0 ? NONE : (int)fd;
	if (fd < 0)
		die("seccomp", NULL);
	/* the program shall find no child that it has not made */
	int status;
	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			die("waitpid", NULL);
	if (status != 0)
		die_with(ECANCELED, "sendmsg", "the listener");
}

void load_filter(const struct init *init, uint32_t flags, struct bytes program)
{
	if (program.size == 0 || program.size % sizeof *filter || program.size > sizeof filter)
		die_with(EINVAL, "seccomp", NULL);
	/* a plan keeps no alignment */
	memcpy(filter, program.data, program.size);
	struct tare_filter_program loaded = {(uint16_t)(program.size / sizeof *filter), filter};
	if (flags & TARE_SECCOMP_NEW_LISTENER)
		return load_with_listener(init, flags, &loaded);
	if (set_filter(flags, &loaded) < 0)
		die("seccomp", NULL);
}
