/* SPDX-License-Identifier: Apache-2.0 */
/* members.c - cases about who is accelerated and who is not, and about many connections at a time. */
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

/* Many connections under a limit of descriptors: those for which there is no room stay on TCP, all work (rule 15). */
#define MANY 60

static void crowd(int *fd, bool first)
{
	int right = 0;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < MANY; i++) {
			char c = (char)(round + i);

			if (first)
				right += send(fd[i], &c, 1, MSG_NOSIGNAL) == 1 && recv(fd[i], &c, 1, 0) == 1 &&
					 c == (char)(round + i);
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
	CASE(same_process, "13,20", RAW_COLD),
	CASE(self, "20", RAW_COLD),
	CASE(many, "15", RAW_COLD),
	CASE(declined, "20,21", NEVER),
	CASE(one_declined, "20,21", NEVER),
	CASE(stranger, "20", NEVER),
	CASE(others, "20", NEVER),
};
GROUP(members);
