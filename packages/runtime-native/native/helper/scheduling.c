/* How the kernel treats the process: processor time, I/O, memory placement, clocks, the personality of its system calls. */
#include <sched.h>
#include <string.h>

#include "init.h"
#include "kernel.h"
#include "util.h"

/* As many as the kernel's own limit on any architecture that we build for. */
#define MAX_CPUS 8192u
#define MAX_NODES 1024u

#define IOPRIO_WHO_PROCESS 1

/* A bit mask of the plan in the words that the kernel reads. Dies when it is larger than `size` bytes. */
static void copy_mask(unsigned long *words, size_t size, struct bytes mask, const char *call)
{
	if (mask.size > size)
		die_with(EINVAL, call, NULL);
	memset(words, 0, size);
	memcpy(words, mask.data, mask.size);
}

void set_affinity(struct bytes cpus)
{
	static unsigned long words[MAX_CPUS / 8 / sizeof(unsigned long)];
	copy_mask(words, sizeof words, cpus, "sched_setaffinity");
	if (syscall(SYS_sched_setaffinity, 0, sizeof words, words) < 0)
		die("sched_setaffinity", NULL);
}

void set_io_priority(uint32_t priority)
{
	if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) < 0)
		die("ioprio_set", NULL);
}

void set_scheduler(struct cursor fields)
{
	struct tare_sched_attr attr = {.size = sizeof attr};
	attr.policy = read_u32(&fields);
	attr.nice = (int32_t)read_u32(&fields);
	attr.priority = read_u32(&fields);
	attr.flags = read_u64(&fields);
	attr.runtime = read_u64(&fields);
	attr.deadline = read_u64(&fields);
	attr.period = read_u64(&fields);
	if (syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
		die("sched_setattr", NULL);
}

void set_memory_policy(uint32_t mode, struct bytes nodes)
{
	unsigned long words[MAX_NODES / 8 / sizeof(unsigned long)];
	copy_mask(words, sizeof words, nodes, "set_mempolicy");
	/* modes without nodes want no mask at all */
	if (syscall(SYS_set_mempolicy, mode, nodes.size ? words : NULL, nodes.size ? MAX_NODES : 0) < 0)
		die("set_mempolicy", NULL);
}

void set_personality(uint32_t persona)
{
	if (syscall(SYS_personality, persona) < 0)
		die("personality", NULL);
}
