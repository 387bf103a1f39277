/* Loads a filter that the compiler has made; what it means is the compiler's business. */
#include <string.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/* BPF_MAXINSNS */
#define MAX_INSTRUCTIONS 4096u
static struct tare_filter filter[MAX_INSTRUCTIONS];

void load_filter(uint32_t flags, struct bytes program)
{
	if (program.size == 0 || program.size % sizeof *filter || program.size > sizeof filter)
		die_with(EINVAL, "seccomp", NULL);
	/* a plan keeps no alignment */
	memcpy(filter, program.data, program.size);
	struct tare_filter_program loaded = {(uint16_t)(program.size / sizeof *filter), filter};
	if (syscall(SYS_seccomp, TARE_SECCOMP_SET_MODE_FILTER, flags, &loaded) < 0)
		die("seccomp", NULL);
}
