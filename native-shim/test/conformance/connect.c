/* SPDX-License-Identifier: Apache-2.0 */
/* connect.c - cases about connect and accept. */
#include <netinet/tcp.h>

#include "harness.h"

static void talk(int fd, bool first)
{
	if (first) {
		wr(fd, "ping");
		rd(fd, 4, MSG_WAITALL);
	} else {
		rd(fd, 4, MSG_WAITALL);
		wr(fd, "pong");
	}
}

/* The way of MPI: nonblocking connect, wait for room, ask SO_ERROR. */
static void a_nonblocking(int listener)
{
	int fd = pick(listener);

	warm(fd, false);
	talk(fd, false);
	rd(fd, 1, 0);
}

static void b_nonblocking(int none)
{
	int fd = dial_start(true);

	(void)none;
	pl(fd, POLLOUT, 3000);
	soerr(fd);
	rd(fd, 1, 0);
	nonblock(fd, false);
	warm(fd, true);
	talk(fd, true);
}

static struct sockaddr_storage nobody(socklen_t *len)
{
	struct sockaddr_storage ss = conf_address(len);
	struct sockaddr_in *in = (void *)&ss; /* the port is at the same place in both families */

	in->sin_port = htons(9);
	return ss;
}

static void a_refused(int listener)
{
	(void)listener;
}

static void b_refused(int none)
{
	socklen_t len;
	struct sockaddr_storage ss = nobody(&len);
	int fd = socket(ss.ss_family, SOCK_STREAM, 0);

	(void)none;
	noted("connect", connect(fd, (struct sockaddr *)&ss, len));
	soerr(fd);
	noted("again", connect(fd, (struct sockaddr *)&ss, len));
	wr(fd, "x");
	rd(fd, 1, 0);
	pl(fd, POLLIN | POLLOUT, 0);
	close(fd);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int r = connect(fd, (struct sockaddr *)&ss, len);

	note(" started=%d", r < 0 && (errno == EINPROGRESS || errno == ECONNREFUSED));
	pl(fd, POLLOUT, 3000);
	soerr(fd);
	soerr(fd);
}

/* Refused first, then, on the same socket, a listener that is there (MPICH's Hydra and ORTE do so). */
static void a_retry(int listener)
{
	int fd = pick(listener);

	warm(fd, false);
	talk(fd, false);
}

static void b_retry(int none)
{
	socklen_t len;
	struct sockaddr_storage ss = nobody(&len);
	int one = 1, fd = socket(ss.ss_family, SOCK_STREAM, 0);

	(void)none;
	noted("connect", connect(fd, (struct sockaddr *)&ss, len));
	ss = conf_address(&len);
	noted("connect", connect(fd, (struct sockaddr *)&ss, len));
	noted("twice", connect(fd, (struct sockaddr *)&ss, len));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	warm(fd, true);
	noted("twice", connect(fd, (struct sockaddr *)&ss, len));
	noted("bind", bind(fd, (struct sockaddr *)&ss, len));
	noted("listen", listen(fd, 5));
	noted("accept", accept(fd, NULL, NULL));
	talk(fd, true);
	rd(fd, 1, 0);
}

/* connect(AF_UNSPEC) dissolves the connection; the socket may then connect again. */
static void a_disconnect(int listener)
{
	int fd = pick(listener);

	warm(fd, false);
	until_ended(fd);
	rd(fd, 1, 0);
	rd(fd, 1, 0);
	close(fd);
	fd = pick(listener);
	talk(fd, false);
	rd(fd, 1, 0);
}

static void b_disconnect(int none)
{
	struct sockaddr away = { .sa_family = AF_UNSPEC };
	socklen_t len;
	struct sockaddr_storage ss = conf_address(&len);
	int fd = dial();

	(void)none;
	warm(fd, true);
	noted("away", connect(fd, &away, sizeof(away)));
	wr(fd, "x");
	rd(fd, 1, 0);
	pl(fd, POLLIN | POLLOUT, 0);
	noted("connect", connect(fd, (struct sockaddr *)&ss, len));
	talk(fd, true);
}

/* What a listener and an unconnected socket answer. */
static void a_unconnected(int listener)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd = socket(AF_INET, SOCK_STREAM, 0), ep = epoll_create1(0);

	wr(fd, "x");
	rd(fd, 1, 0);
	noted("shutdown", shutdown(fd, SHUT_RDWR));
	noted("peer", getpeername(fd, (struct sockaddr *)&ss, &len));
	pl(fd, POLLIN | POLLOUT, 0);
	ep_add(ep, fd, EPOLLIN | EPOLLOUT, 1);
	ew(ep, 0);
	rd(listener, 1, 0);
	wr(listener, "x");
	pl(listener, POLLIN | POLLOUT, 0);
	go(TO_B);
	pl(listener, POLLIN, 3000);
	fd = accept4(listener, (struct sockaddr *)&ss, &(socklen_t){ sizeof(ss) }, SOCK_NONBLOCK | SOCK_CLOEXEC);
	note(" family=%d fl=%x fd=%d", ss.ss_family, (unsigned int)fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	rd(fd, 1, 0);
	nonblock(fd, false);
	go(TO_B);
	warm(fd, false);
	noted("accept_bad", accept(fd, NULL, NULL));
}

static void b_unconnected(int none)
{
	int fd;

	(void)none;
	await(TO_B);
	fd = dial();
	await(TO_B);
	warm(fd, true);
	rd(fd, 1, 0);
}

/* A listener's SO_RCVTIMEO is inherited, its O_NONBLOCK is not. */
static void a_inherited(int listener)
{
	int fd, one = 1;

	rcvtimeo(listener, 60);
	sndtimeo(listener, 70);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	noted("accept", accept(listener, NULL, NULL));
	go(TO_B);
	until_readable(listener);
	nonblock(listener, true);
	fd = pick(listener);
	noted("accept", accept(listener, NULL, NULL));
	note(" fl=%x", (unsigned int)fcntl(fd, F_GETFL));
	rd(fd, 1, 0);
	go(TO_B);
	rcvtimeo(fd, 3000);
	warm(fd, false);
	rcvtimeo(fd, 60);
	rd(fd, 1, 0);
	go(TO_B);
	await(TO_A);
	bool full = put(fd, 0, 60000000) < 60000000;

	note(" short=%d/%s", full, err(-1));
	go(TO_B);
}

static void b_inherited(int none)
{
	int fd;

	(void)none;
	await(TO_B);
	fd = dial();
	await(TO_B);
	warm(fd, true);
	await(TO_B);
	go(TO_A);
	await(TO_B);
}

/* The client writes and closes before anybody accepts. */
static void a_late_accept(int listener)
{
	int fd;

	await(TO_A);
	fd = accept(listener, NULL, NULL);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
	wr(fd, "x");
	fd = accept(listener, NULL, NULL);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
}

static void b_late_accept(int none)
{
	int fd = dial();

	(void)none;
	wr(fd, "early");
	close(fd);
	fd = dial();
	wr(fd, "reset");
	linger_of(fd, 1, 0);
	close(fd);
	go(TO_A);
}

/* The client is long old enough when its peer is accepted at last (rule 20). */
static void a_late_switch(int listener)
{
	int fd;

	await(TO_A);
	fd = pick(listener);
	rd(fd, 5, MSG_WAITALL);
	warm(fd, false);
	talk(fd, false);
}

static void b_late_switch(int none)
{
	int fd = dial();

	(void)none;
	wr(fd, "early");
	pl(fd, POLLIN, 80);
	go(TO_A);
	warm(fd, true);
	talk(fd, true);
	rd(fd, 1, 0);
}

/* Children of a pre-forking server accept on one inherited listener. */
static void a_prefork(int listener)
{
	pid_t p[2];

	for (int i = 0; i < 2; i++) {
		p[i] = kid();
		if (p[i] == 0) {
			int fd = pick(listener);

			warm(fd, false);
			talk(fd, false);
			rd(fd, 1, 0);
			exit(0);
		}
	}
	close(listener);
	for (int i = 0; i < 2; i++)
		reap(p[i]);
}

static void b_prefork(int none)
{
	(void)none;
	for (int i = 0; i < 2; i++) {
		int fd = dial();

		warm(fd, true);
		talk(fd, true);
		close(fd);
	}
}

/* A server that forks for each connection: the child has it alone. */
static void a_forking_server(int listener)
{
	pid_t p[3];

	for (int i = 0; i < 3; i++) {
		int fd = pick(listener);

		p[i] = kid();
		if (p[i] == 0) {
			close(listener);
			warm(fd, false);
			talk(fd, false);
			rd(fd, 1, 0);
			exit(0);
		}
		close(fd);
	}
	for (int i = 0; i < 3; i++)
		reap(p[i]);
}

static void b_forking_server(int none)
{
	(void)none;
	for (int i = 0; i < 3; i++) {
		int fd = dial();

		warm(fd, true);
		talk(fd, true);
		close(fd);
	}
}

/* MSG_FASTOPEN connects and sends in one call. */
static void a_fastopen(int listener)
{
	int fd = pick(listener);

	rd(fd, 4, MSG_WAITALL);
	for (int i = 0; i < 40; i++) {
		char c;

		if (recv(fd, &c, 1, 0) == 1)
			send(fd, &c, 1, MSG_NOSIGNAL);
	}
	rd(fd, 4, MSG_WAITALL);
}

static void b_fastopen(int none)
{
	socklen_t len;
	struct sockaddr_storage ss = conf_address(&len);
	int fd = socket(ss.ss_family, SOCK_STREAM, 0), right = 0;

	(void)none;
	noted("fastopen", sendto(fd, "fast", 4, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&ss, len));
	for (int i = 0; i < 40; i++) {
		char c = (char)i;

		right += send(fd, &c, 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1 && c == (char)i;
		ms(1);
	}
	note(" right=%d", right);
	wr(fd, "last");
}

static const struct test_case cases[] = {
	CASE(nonblocking, "11", RAW),
	CASE(refused, "11", RAW_COLD),
	CASE(retry, "6", RAW),
	CASE_F(disconnect, "8,16", RAW, NOT_FAR),
	CASE(unconnected, "11,12", RAW),
	CASE_F(inherited, "11,14", RAW, SLOW),
	CASE(late_accept, "16,20", RAW_COLD),
	CASE(late_switch, "6,20", RAW),
	CASE(prefork, "18,20", RAW),
	CASE(forking_server, "18,20", RAW),
	CASE(fastopen, "8", RAW_COLD),
};
GROUP(connect);
