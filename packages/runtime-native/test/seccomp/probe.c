/*
 * Loads the filter in the file argv[1], then makes each system call named by the other arguments and prints how it
 * ended. A call is NUMBER[,ARGUMENT...]; an i before the number makes it a 32-bit (int 0x80) call.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sock_filter code[4096];

static long call32(long number, const unsigned long *a)
{
#ifdef __x86_64__
	long result;
	register long edi __asm__("rdi") = (long)a[4];
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "r"(edi)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
#else
	(void)number, (void)a;
	return -ENOSYS;
#endif
}

static void one(const struct sock_fprog *program, const char *text)
{
	unsigned long a[6] = { 0 };
	int narrow = *text == 'i';
	char *end;
	long number = strtol(text + narrow, &end, 0);
	for (int i = 0; i < 6 && *end == ','; i++)
		a[i] = strtoul(end + 1, &end, 0);

	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) < 0)
			_exit(255);
		long result = narrow ? call32(number, a) : syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		_exit(result >= 0 ? 0 : narrow ? (int)-result : errno);
	}
	int status;
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		printf("signal %d\n", WTERMSIG(status));
	else if (WEXITSTATUS(status) == 255)
		printf("not loaded\n");
	else
		printf("errno %d\n", WEXITSTATUS(status));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int fd = open(argv[1], O_RDONLY);
	ssize_t size = read(fd, code, sizeof code);
	struct sock_fprog program = { .len = (unsigned short)(size / (ssize_t)sizeof code[0]), .filter = code };
	for (int i = 2; i < argc; i++)
		one(&program, argv[i]);
	return 0;
}
