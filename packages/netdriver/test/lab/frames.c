/* Frames on a wire, as they are: sends those that come in hex, a line each, on stdin; prints all that arrive, the same way. */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(argv[1])};
    if (fd < 0 || address.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        perror(argv[1]);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0);
    puts("ready");
    struct pollfd ready[2] = {{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    for (;;) {
        if (poll(ready, 2, -1) < 0)
            return 1;
        if (ready[1].revents) {
            unsigned char frame[2048];
            struct sockaddr_ll from;
            socklen_t size = sizeof from;
            ssize_t length = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);
            if (length > 0 && from.sll_pkttype != PACKET_OUTGOING) {
                for (ssize_t i = 0; i < length; i++)
                    printf("%02x", frame[i]);
                putchar('\n');
            }
        }
        if (ready[0].revents) {
            char line[4100];
            if (!fgets(line, sizeof line, stdin))
                return 0;
            unsigned char frame[2048];
            size_t length = 0;
            unsigned value;
            while (length < sizeof frame && sscanf(line + 2 * length, "%2x", &value) == 1)
                frame[length++] = (unsigned char)value;
            if (send(fd, frame, length, 0) < 0)
                perror("send");
        }
    }
}
