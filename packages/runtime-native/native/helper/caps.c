/* The five capability sets, and no_new_privs. */
#include <sys/prctl.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_RAISE 2
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

void limit_bounding_set(uint64_t mask)
{
	for (unsigned long capability = 0; capability < 64; capability++) {
		if (mask >> capability & 1)
			continue;
		/* EINVAL: past the last capability of this kernel */
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
			if (errno == EINVAL)
				break;
			die("prctl", "PR_CAPBSET_DROP");
		}
	}
}

void set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct tare_cap_header header = {.version = TARE_CAPABILITY_VERSION_3};
	struct tare_cap_data data[2];
	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(effective >> 32 * i);
		data[i].permitted = (uint32_t)(permitted >> 32 * i);
		data[i].inheritable = (uint32_t)(inheritable >> 32 * i);
	}
	if (syscall(SYS_capset, &header, data) < 0)
		die("capset", NULL);
}

void raise_ambient_set(uint64_t mask)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		die("prctl", "PR_CAP_AMBIENT_CLEAR_ALL");
	for (unsigned long capability = 0; capability < 64; capability++)
		if (mask >> capability & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
			die("prctl", "PR_CAP_AMBIENT_RAISE");
}

void no_new_privileges(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die("prctl", "PR_SET_NO_NEW_PRIVS");
}
