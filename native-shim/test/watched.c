/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watched.c - other threads poll a socket all the time while one reads it: what they see in between must not be taken
 * for a hostile peer's nonsense.  usage: watched ADDRESS PORT MIB SEED   0: all bytes came; 1: they did not.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 3000

static int fd;
static _Atomic int done;

static void *watch(void *arg)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (!atomic_load(&done))
		poll(&p, 1, 0);
	return arg;
}

static int fail(const char *what, long long at)
{
	printf("watched: %s at %lld: %s\n", what, at, strerror(errno));
	return 1;
}

static int writer(const struct sockaddr_in *at, long long total)
{
	static char buf[MOST];
	long long n = 0;
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(s, (const struct sockaddr *)at, sizeof(*at)))
		return fail("connect", 0);
	while (n < total) {
		ssize_t r = send(s, buf, (size_t)(1 + rand() % MOST), MSG_NOSIGNAL);

		if (r <= 0)
			return fail("send", n);
		n += r;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, status;
	static char buf[MOST];
	pthread_t t[2];
	long long total, n = 0;
	ssize_t r;

	if (argc != 5 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1)
		return 2;
	at.sin_port = htons((uint16_t)atoi(argv[2]));
	total = atoll(argv[3]) << 20;
	srand((unsigned int)atoi(argv[4]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1))
		return fail("listen", 0);
	pid_t child = fork();

	if (!child)
		return writer(&at, total);
	fd = accept(listener, NULL, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, watch, NULL);
	while ((r = recv(fd, buf, (size_t)(1 + rand() % MOST), 0)) > 0)
		n += r;
	if (r < 0)
		fail("recv", n);
	atomic_store(&done, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	close(fd);
	waitpid(child, &status, 0);
	return r != 0 || n < total || status != 0;
}
