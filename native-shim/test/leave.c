/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave.c - a descriptor that goes where the ring cannot be read, after the writer has put bytes there and has shut its
 * side: whoever reads then gets all of them or an error, never a clean end too early (rules 8 and 16).
 *
 * usage: leave ADDRESS PORT   prints what was read; 0: right, 1: bytes are missing, 2: the case was not reached.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EARLY "early"  /* by TCP, and not read before the ring begins */
#define LATE "and late" /* by the ring */

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static void ms(long n)
{
	nanosleep(&(struct timespec){ n / 1000, n % 1000 * 1000000 }, NULL);
}

/* Calls that move no byte of ours, so that the connection can grow up. */
static void idle(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	for (int i = 0; i < 40; i++) {
		poll(&p, 1, 0);
		ms(5);
	}
}

static void writer(const struct sockaddr_in *at, int go)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char c;

	if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) || send(fd, EARLY, strlen(EARLY), 0) < 0)
		fail("connect");
	idle(fd);
	if (send(fd, LATE, strlen(LATE), 0) < 0 || shutdown(fd, SHUT_WR))
		fail("send");
	if (write(go, "x", 1) != 1 || recv(fd, &c, 1, 0) > 0) /* stays until the reader is gone */
		fail("wait");
	exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argc > 2 ? argv[2] : "0")) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, go[2], fd, status;
	char got[64] = "";
	size_t n = 0;
	ssize_t r;
	pid_t child;

	if (argc < 3 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1 || pipe(go))
		return 2;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1))
		fail("listen");
	child = fork();
	if (!child) {
		close(listener);
		close(go[0]);
		writer(&at, go[1]);
	}
	close(go[1]);
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		fail("accept");
	idle(fd);
	if (read(go[0], got, 1) != 1)
		fail("writer");
	if (dup2(fd, 0) != 0)
		fail("dup2");
	close(fd);
	/* As stdio does: a call of libc's own, which nobody sees. */
	while (n < sizeof(got) - 1 && (r = syscall(SYS_read, 0, got + n, sizeof(got) - 1 - n)) > 0)
		n += (size_t)r;
	got[n] = '\0';
	printf("'%s', then %s\n", got, r < 0 ? strerrorname_np(errno) : "the end");
	close(0);
	waitpid(child, &status, 0);
	if (WEXITSTATUS(status) == 2)
		return 2;
	return r == 0 && strcmp(got, EARLY LATE) != 0;
}
