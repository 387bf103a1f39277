/*
 * hello-world: the smallest program worth a container. It has no C library, so that the image is one file of about
 * two kilobytes that runs on any Linux kernel.
 */
static const char greeting[] =
    "\n"
    "Hello from Tare!\n"
    "Your container works. To get here:\n"
    "\n"
    " 1. The client asked the daemon, over its REST API, to run hello-world.\n"
    " 2. The daemon did not have the image, so it pulled it from a registry and\n"
    "    unpacked its layer into the graph of layers.\n"
    " 3. The daemon made a container of it: its own processes, mounts, host name,\n"
    "    network and limits. This program is the first process in it.\n"
    " 4. What you read went from this process to its monitor, which keeps the log,\n"
    "    and through the daemon to your terminal.\n"
    "\n";

static long system_call(long number, long a, long b, long c)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#else
#error "hello-world knows x86-64 and arm64 only"
#endif
}

#if defined(__x86_64__)
enum { SYS_WRITE = 1, SYS_EXIT = 60 };
#else
enum { SYS_WRITE = 64, SYS_EXIT = 93 };
#endif

void _start(void)
{
    unsigned long left = sizeof greeting - 1;
    const char *next = greeting;
    while (left > 0) {
        long written = system_call(SYS_WRITE, 1, (long)next, (long)left);
        if (written <= 0)
            system_call(SYS_EXIT, 1, 0, 0);
        next += written;
        left -= (unsigned long)written;
    }
    system_call(SYS_EXIT, 0, 0, 0);
    __builtin_unreachable();
}
