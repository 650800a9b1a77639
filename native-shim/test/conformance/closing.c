/* SPDX-License-Identifier: Apache-2.0 */
/* closing.c - cases that close around the moment of the switch: the end never overtakes a byte (rules 16, 17, 19). */
#include "harness.h"

/* Closed around the moment of the switch, right after writing: the end never overtakes a byte (rules 16 and 17). */
#define ROUNDS 40

static void a_close_around(int listener)
{
	int right = 0;

	warm(pick(listener), false);
	for (int i = 0; i < ROUNDS; i++) {
		int fd = pick(listener);
		size_t n = 0;
		char c;

		for (int k = 0; k < i % 20; k++)
			if (recv(fd, &c, 1, 0) == 1)
				send(fd, &c, 1, MSG_NOSIGNAL);
		n = take(fd, 0, 3000);
		right += n == 3000 && recv(fd, &c, 1, 0) == 0;
		close(fd);
	}
	note(" right=%d", right);
}

static void b_close_around(int none)
{
	(void)none;
	warm(dial(), true);
	for (int i = 0; i < ROUNDS; i++) {
		int fd = dial();
		char c = 'c';

		for (int k = 0; k < i % 20; k++) {
			if (send(fd, &c, 1, MSG_NOSIGNAL) != 1 || recv(fd, &c, 1, 0) != 1)
				break;
			ms(3);
		}
		put(fd, 0, 3000);
		close(fd);
	}
}

/* The same with a writer that only writes, and a reader that already sits in recv. */
static void a_close_behind(int listener)
{
	int right = 0;

	warm(pick(listener), false);
	for (int i = 0; i < ROUNDS; i++) {
		int fd = pick(listener);
		char c;

		right += take(fd, 0, (size_t)(20 + 300 * i)) == (size_t)(20 + 300 * i) && recv(fd, &c, 1, 0) == 0;
		close(fd);
	}
	note(" right=%d", right);
}

static void b_close_behind(int none)
{
	(void)none;
	warm(dial(), true);
	for (int i = 0; i < ROUNDS; i++) {
		int fd = dial();

		for (size_t k = 0; k < 20; k++) {
			put(fd, k, 1);
			ms(2);
		}
		put(fd, 20, (size_t)(300 * i));
		if (i % 3 == 0)
			shutdown(fd, SHUT_RDWR);
		close(fd);
	}
}

/* The reader has armed and sits in recv on TCP; the writer goes to the ring, writes and closes at once. */
static void a_close_at_switch(int listener)
{
	int right = 0;

	warm(pick(listener), false);
	for (int i = 0; i < 25; i++) {
		int fd = pick(listener);
		char buf[100];
		struct pollfd p = { fd, POLLIN, 0 };
		ssize_t r;
		size_t n = 0;

		right += recv(fd, buf, 1, 0) == 1 && send(fd, buf, 1, MSG_NOSIGNAL) == 1;
		for (int k = 0; k < 6; k++) {
			ms(6);
			poll(&p, 1, 0);
		}
		go(TO_B);
		while ((r = recv(fd, buf, sizeof(buf), 0)) > 0)
			n += (size_t)r;
		right += n == 5 && r == 0;
		close(fd);
	}
	note(" right=%d", right);
}

static void b_close_at_switch(int none)
{
	(void)none;
	warm(dial(), true);
	for (int i = 0; i < 25; i++) {
		int fd = dial();
		char c = '1';

		send(fd, &c, 1, MSG_NOSIGNAL);
		recv(fd, &c, 1, 0);
		ms(25);
		send(fd, &c, 1, MSG_NOSIGNAL);
		await(TO_B);
		ms(i % 5);
		send(fd, "DATA", 4, MSG_NOSIGNAL);
		close(fd);
	}
}

/* Registered, and closed before the peer's end is: nobody else may hold the socket open (rule 19). */
static void a_close_registered(int fd)
{
	await(TO_A);
	until_state(fd, CLOSE_WAIT);
	note(" state=%d", tcp_state(fd));
	rd(fd, 4, 0);
	rd(fd, 4, 0);
}

static void b_close_registered(int fd)
{
	pl(fd, POLLIN, 60);
	wr(fd, "x");
	close(fd);
	go(TO_A);
}

/* ---- libraries that work on a connection as the process ends: their destructors run after those of what was preloaded ---- */

extern void (*lastly)(void); /* called by a destructor of liblastly.so */
static int end_fd;

static void last_words(void)
{
	wr(end_fd, "last");
}

static void last_talk(void)
{
	wr(end_fd, "bye?");
	rd(end_fd, 4, MSG_WAITALL);
	close(end_fd);
}

static void last_look(void)
{
	rd(end_fd, 4, MSG_WAITALL);
	wr(end_fd, "seen");
	close(end_fd);
}

static void a_late_read(int fd)
{
	end_fd = fd;
	lastly = last_look;
	until_queued(fd, 4);
	exit(0);
}

static void b_late_read(int fd)
{
	wr(fd, "data");
	rd(fd, 4, MSG_WAITALL);
	rd(fd, 1, 0);
}

static void a_late_send(int fd)
{
	end_fd = fd;
	lastly = last_words;
	wr(fd, "data");
	exit(0);
}

static void b_late_send(int fd)
{
	rd(fd, 8, MSG_WAITALL);
	rd(fd, 1, 0);
}

static void a_late_talk(int fd)
{
	end_fd = fd;
	lastly = last_talk;
	wr(fd, "data");
	exit(0);
}

static void b_late_talk(int fd)
{
	rd(fd, 8, MSG_WAITALL);
	wr(fd, "bye!");
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(close_around, "16,17", RAW),
	CASE(close_behind, "16,17", RAW),
	CASE(close_at_switch, "4,16,17", RAW),
	CASE(close_registered, "17,19", COLD),
	CASE(late_read, "16", WARM),
	CASE(late_send, "16", WARM),
	CASE(late_talk, "16", WARM),
};
GROUP(closing);
