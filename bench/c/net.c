/* SPDX-License-Identifier: Apache-2.0 */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

long number(const char *text, long most)
{
	char *end;
	errno = 0;
	long value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < 1 || value > most) {
		errno = EINVAL;
		die(text);
	}
	return value;
}

static void no_delay(int fd)
{
	int on = 1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
		die("TCP_NODELAY");
}

int listen_on(const char *port)
{
	int on = 1, off = 0, fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	any.sin6_port = htons((uint16_t)number(port, 65535));
	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof any) != 0 || listen(fd, 1024) != 0)
		die("listen");
	return fd;
}

int accept_from(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		die("accept");
	no_delay(fd);
	return fd;
}

int connect_to(const char *address, const char *port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr *to = (struct sockaddr *)&v4;
	socklen_t length = sizeof v4;
	v4.sin_port = v6.sin6_port = htons((uint16_t)number(port, 65535));
	if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1) {
		to = (struct sockaddr *)&v6;
		length = sizeof v6;
	} else if (inet_pton(AF_INET, address, &v4.sin_addr) != 1) {
		errno = EINVAL;
		die(address);
	}
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, to, length) != 0)
		die("connect");
	no_delay(fd);
	return fd;
}

size_t read_full(int fd, void *data, size_t bytes)
{
	size_t have = 0;
	while (have < bytes) {
		ssize_t got = read(fd, (char *)data + have, bytes - have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			die("read");
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return have;
}

void write_full(int fd, const void *data, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t put = write(fd, (const char *)data + done, bytes - done);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			die("write");
		done += (size_t)put;
	}
}

uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
