/*
 * Both ends of SCTP associations, over IPv4: `sctp probe` ends with 0 where the kernel has SCTP; `sctp serve PORT NAME`
 * answers each with its name and the other's address; `sctp ask ADDRESS PORT` prints the answer, or fails within 2 s.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int serve(int fd, int port, const char *name)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0 || listen(fd, 16) < 0)
        return fail("listen");
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct sockaddr_in other;
        socklen_t size = sizeof other;
        int one = accept(fd, (struct sockaddr *)&other, &size);
        if (one < 0)
            return fail("accept");
        char text[128];
        int length = snprintf(text, sizeof text, "%s %s\n", name, inet_ntoa(other.sin_addr));
        (void)!write(one, text, (size_t)length);
        close(one);
    }
}

static int ask(int fd, const char *address, int port)
{
    struct timeval limit = {.tv_sec = 2};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    struct sockaddr_in other = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_aton(address, &other.sin_addr);
    if (connect(fd, (struct sockaddr *)&other, sizeof other) < 0)
        return fail("connect");
    char text[128];
    ssize_t length = read(fd, text, sizeof text);
    if (length <= 0)
        return fail("read");
    return fwrite(text, 1, (size_t)length, stdout) == (size_t)length ? 0 : 1;
}

int main(int argc, char **argv)
{
    int fd = socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
    if (fd < 0)
        return fail("socket");
    if (argc == 4 && strcmp(argv[1], "serve") == 0)
        return serve(fd, atoi(argv[2]), argv[3]);
    if (argc == 4 && strcmp(argv[1], "ask") == 0)
        return ask(fd, argv[2], atoi(argv[3]));
    return argc == 2 && strcmp(argv[1], "probe") == 0 ? 0 : 2;
}
