/* A forwarder that knows nothing: what a flood costs any program that reads a UDP socket.
 *
 *     forwarder ADDRESS PORT CLIENT PEER PEER_PORT
 *
 * What comes from CLIENT goes to the peer, what the peer sends goes to the client, and all else is thrown away. Two
 * threads share the port as a server's workers do. TCP connections to the port are accepted and closed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in front, peer;
static struct in_addr client;

static int opened(int type)
{
    int one = 1, size = 4 << 20, descriptor = socket(AF_INET, type, 0);
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    return descriptor;
}

static void *forward(void *unused)
{
    (void)unused;
    int outside = opened(SOCK_DGRAM), inside = opened(SOCK_DGRAM);
    struct sockaddr_in back = {.sin_family = AF_INET}, known = {0}, from;
    if (bind(outside, (struct sockaddr *)&front, sizeof front) || bind(inside, (struct sockaddr *)&back, sizeof back)
        || connect(inside, (struct sockaddr *)&peer, sizeof peer)) {
        perror("forwarder");
        exit(1);
    }
    struct pollfd both[2] = {{.fd = outside, .events = POLLIN}, {.fd = inside, .events = POLLIN}};
    static __thread char buffer[65536];
    for (;;) {
        poll(both, 2, -1);
        for (int turn = 0; turn < 128; turn++) {
            socklen_t length = sizeof from;
            ssize_t got = recvfrom(outside, buffer, sizeof buffer, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
            if (got < 0)
                break;
            if (from.sin_addr.s_addr != client.s_addr)
                continue;
            known = from;
            send(inside, buffer, got, MSG_DONTWAIT);
        }
        for (int turn = 0; turn < 128; turn++) {
            ssize_t got = recv(inside, buffer, sizeof buffer, MSG_DONTWAIT);
            if (got < 0)
                break;
            if (known.sin_port)
                sendto(outside, buffer, got, MSG_DONTWAIT, (struct sockaddr *)&known, sizeof known);
        }
    }
}

int main(int count, char **words)
{
    if (count != 6)
        return 2;
    front = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(words[5]))};
    inet_pton(AF_INET, words[1], &front.sin_addr);
    inet_pton(AF_INET, words[3], &client);
    inet_pton(AF_INET, words[4], &peer.sin_addr);
    int listener = opened(SOCK_STREAM);
    if (bind(listener, (struct sockaddr *)&front, sizeof front) || listen(listener, 1024)) {
        perror("forwarder");
        return 1;
    }
    pthread_t thread;
    for (int number = 0; number < 2; number++)
        pthread_create(&thread, NULL, forward, NULL);
    puts("ready");
    fflush(stdout);
    for (;;)
        close(accept(listener, NULL, NULL));
}
