/* SPDX-License-Identifier: Apache-2.0 */
/* connect.c - cases about connect, accept, addresses, and who may be accelerated. */
#include <netinet/tcp.h>
#include <sys/resource.h>

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

/* Both ends in one process, and many connections between the same two addresses: only the ports tell them apart. */
static void a_same_process(int listener)
{
	int one[6], two[6];

	for (int i = 0; i < 6; i++) {
		one[i] = dial();
		two[i] = pick(listener);
	}
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 6; i++) {
			char c = (char)('a' + i), back = 0;

			send(i % 2 ? one[i] : two[i], &c, 1, MSG_NOSIGNAL);
			recv(i % 2 ? two[i] : one[i], &back, 1, 0);
			if (back != c)
				note(" wrong");
			send(i % 2 ? two[i] : one[i], &c, 1, MSG_NOSIGNAL);
			recv(i % 2 ? one[i] : two[i], &back, 1, 0);
			if (back != c)
				note(" wrong");
		}
		ms(2);
	}
	for (int i = 0; i < 6; i++) {
		wr(one[i], "abc");
		rd(two[i], 3, MSG_WAITALL);
		close(one[i]);
		rd(two[i], 3, 0);
	}
	go(TO_B);
}

static void b_same_process(int none)
{
	(void)none;
	await(TO_B);
}

/* A socket connected to itself. */
static void a_self(int listener)
{
	struct sockaddr_storage ss;
	struct sockaddr_in *in;
	socklen_t len;
	int fd;
	char c;

	(void)listener;
	ss = conf_address(&len);
	in = (void *)&ss;
	in->sin_port = htons((uint16_t)(ntohs(in->sin_port) + 20000));
	fd = socket(ss.ss_family, SOCK_STREAM, 0);
	noted("bind", bind(fd, (struct sockaddr *)&ss, len));
	noted("connect", connect(fd, (struct sockaddr *)&ss, len));
	rcvtimeo(fd, 2000);
	for (int i = 0; i < 30; i++) {
		c = (char)('a' + i % 26);
		if (send(fd, &c, 1, MSG_NOSIGNAL) != 1 || recv(fd, &c, 1, 0) != 1 || c != 'a' + i % 26) {
			note(" wrong at %d", i);
			break;
		}
		ms(2);
	}
	wr(fd, "echo");
	rd(fd, 4, MSG_WAITALL);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_self(int none)
{
	(void)none;
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

/* Many connections under a limit of descriptors: those for which there is no room stay on TCP, all work (rule 15). */
#define MANY 60

static void crowd(int *fd, bool first)
{
	int right = 0;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < MANY; i++) {
			char c = (char)(round + i);

			if (first)
				right += send(fd[i], &c, 1, MSG_NOSIGNAL) == 1 && recv(fd[i], &c, 1, 0) == 1 && c == (char)(round + i);
			else
				right += recv(fd[i], &c, 1, 0) == 1 && send(fd[i], &c, 1, MSG_NOSIGNAL) == 1;
		}
		ms(3);
	}
	note(" right=%d", right);
}

static void a_many(int listener)
{
	struct rlimit rl = { 256, 256 };
	int fd[MANY], n = 0;

	/* The harness's own pipes are at 500 and above, and stay usable. */
	setrlimit(RLIMIT_NOFILE, &rl);
	for (int i = 0; i < MANY; i++)
		fd[i] = accept(listener, NULL, NULL);
	crowd(fd, false);
	while (n < 90 && open("/dev/null", O_RDONLY) >= 0)
		n++;
	note(" opened=%d", n);
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
}

static void b_many(int none)
{
	int fd[MANY];

	(void)none;
	for (int i = 0; i < MANY; i++)
		fd[i] = dial();
	crowd(fd, true);
	rd(fd[MANY - 1], 1, 0);
}

/* ---- who may not ---- */

static void stay(int fd, bool first)
{
	warm(fd, first);
	talk(fd, first);
	if (first) {
		note(" put=%zu", put(fd, 0, 300000));
		rd(fd, 2, MSG_WAITALL);
	} else {
		note(" got=%zu", take(fd, 0, 300000));
		wr(fd, "ok");
	}
}

/* The agent declines: an address that is not this VM's, a policy, a route by a tunnel (rules 20 and 21). */
static void a_declined(int listener)
{
	int l = listen_at(2);

	(void)listener;
	go(TO_B);
	stay(pick(l), false);
}

static void b_declined(int none)
{
	(void)none;
	await(TO_B);
	stay(dial_to(2, 0), true);
}

/* One end is declined, the other waits for it all its life. */
static void a_one_declined(int listener)
{
	stay(pick(listener), false);
}

static void b_one_declined(int none)
{
	(void)none;
	stay(dial_to(1, 2), true);
}

/* An address that is in no list, at this end or the other. */
static void a_stranger(int listener)
{
	int l = listen_at(3);

	stay(pick(listener), false);
	go(TO_B);
	stay(pick(l), false);
}

static void b_stranger(int none)
{
	(void)none;
	stay(dial_to(1, 3), true);
	await(TO_B);
	stay(dial_to(3, 0), true);
}

/* Never touched: UNIX, UDP, loopback. */
static void a_others(int listener)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int sv[2], u = socket(AF_INET, SOCK_DGRAM, 0), l = socket(AF_INET, SOCK_STREAM, 0), c, s;

	(void)listener;
	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	wr(sv[0], "unix");
	rd(sv[1], 10, 0);
	bind(u, (struct sockaddr *)&in, sizeof(in));
	getsockname(u, (struct sockaddr *)&in, &len);
	noted("sendto", sendto(u, "udp", 3, 0, (struct sockaddr *)&in, len));
	rd(u, 2, MSG_TRUNC);
	in.sin_port = 0;
	bind(l, (struct sockaddr *)&in, sizeof(in));
	listen(l, 2);
	getsockname(l, (struct sockaddr *)&in, &len);
	s = socket(AF_INET, SOCK_STREAM, 0);
	noted("connect", connect(s, (struct sockaddr *)&in, len));
	c = accept(l, NULL, NULL);
	for (int i = 0; i < 30; i++) {
		char b = 'b';

		send(s, &b, 1, 0);
		recv(c, &b, 1, 0);
		ms(1);
	}
	wr(s, "tcp");
	rd(c, 10, 0);
}

static void b_others(int none)
{
	(void)none;
}

static const struct test_case cases[] = {
	CASE(nonblocking, "11", RAW),
	CASE(refused, "11", RAW_COLD),
	CASE(retry, "6", RAW),
	CASE(disconnect, "8,16", RAW),
	CASE(unconnected, "11,12", RAW),
	CASE_F(inherited, "11,14", RAW, SLOW),
	CASE(late_accept, "16,20", RAW_COLD),
	CASE(late_switch, "6,20", RAW),
	CASE(prefork, "18,20", RAW),
	CASE(forking_server, "18,20", RAW),
	CASE(same_process, "13,20", RAW_COLD),
	CASE(self, "20", RAW_COLD),
	CASE(fastopen, "8", RAW_COLD),
	CASE(many, "15", RAW_COLD),
	CASE(declined, "20,21", NEVER),
	CASE(one_declined, "20,21", NEVER),
	CASE(stranger, "20", NEVER),
	CASE(others, "20", NEVER),
};
GROUP(connect);
