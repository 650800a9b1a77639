/* SPDX-License-Identifier: Apache-2.0 */
/* broken.c - cases about errors that come in the middle of a call, and what the calls after it are told (rule 16). */
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include "harness.h"

#define BIG (64u << 20)

static char big[BIG];

static void then_send(int fd)
{
	ssize_t n = send(fd, "x", 1, 0);

	note(" then=%zd/%s signals=%d", n, err(n), signals);
}

static void part(const char *what, ssize_t n)
{
	note(" %s=%s", what, n < 0 ? err(n) : n < (ssize_t)BIG ? "part" : "all");
}

static void send_much(int fd)
{
	handle(SIGPIPE, SA_RESTART);
	go(TO_B);
	part("send", send(fd, big, sizeof(big), 0));
}

static void read_some(int fd)
{
	static char b[65536];

	await(TO_B);
	for (int i = 0; i < 40; i++)
		recv(fd, b, sizeof(b), 0);
	ms(100);
}

static void read_then_reset(int fd)
{
	read_some(fd);
	linger_of(fd, 1, 0);
	close(fd);
}

static void a_reset_in_send(int fd)
{
	send_much(fd);
	then_send(fd);
	then_send(fd);
}

static void b_reset_in_send(int fd)
{
	read_then_reset(fd);
}

static void a_reset_in_send_young(int fd)
{
	send_much(fd);
	then_send(fd);
	then_send(fd);
}

static void b_reset_in_send_young(int fd)
{
	read_then_reset(fd);
}

static void a_reset_in_send_recv(int fd)
{
	send_much(fd);
	rd(fd, 1, 0);
	then_send(fd);
}

static void b_reset_in_send_recv(int fd)
{
	read_then_reset(fd);
}

/* Told once, by whichever call comes first; then there is only the end. */
static void a_reset_in_send_twice(int fd)
{
	send_much(fd);
	then_send(fd);
	rd(fd, 1, 0);
	soerr(fd);
	then_send(fd);
}

static void b_reset_in_send_twice(int fd)
{
	read_then_reset(fd);
}

static void a_reset_in_small_sends(int fd)
{
	ssize_t n;

	handle(SIGPIPE, SA_RESTART);
	go(TO_B);
	do
		n = send(fd, big, 4096, 0);
	while (n > 0);
	note(" send=%s", err(n));
	rd(fd, 1, 0);
	soerr(fd);
	then_send(fd);
}

static void b_reset_in_small_sends(int fd)
{
	read_then_reset(fd);
}

static void a_reset_in_send_soerr(int fd)
{
	send_much(fd);
	soerr(fd);
	soerr(fd);
	rd(fd, 1, 0);
	then_send(fd);
}

static void b_reset_in_send_soerr(int fd)
{
	read_then_reset(fd);
}

static void a_reset_in_send_poll(int fd)
{
	send_much(fd);
	pl(fd, POLLIN | POLLOUT, 0);
	soerr(fd);
	then_send(fd);
}

static void b_reset_in_send_poll(int fd)
{
	read_then_reset(fd);
}

/* Closed over unread bytes: a reset as well. */
static void a_close_in_send(int fd)
{
	send_much(fd);
	rd(fd, 1, 0);
	then_send(fd);
}

static void b_close_in_send(int fd)
{
	read_some(fd);
	close(fd);
}

/* The kernel's sendfile() forgets the error. */
static void a_reset_in_sendfile(int fd)
{
	int in = (int)syscall(SYS_memfd_create, "zeros", 0);
	off_t at = 0;
	ssize_t n;

	if (ftruncate(in, BIG))
		return;
	handle(SIGPIPE, SA_RESTART);
	go(TO_B);
	n = sendfile(fd, in, &at, BIG);
	part("sendfile", n);
	note(" same=%d", n == at);
	rd(fd, 1, 0);
	then_send(fd);
}

static void b_reset_in_sendfile(int fd)
{
	read_then_reset(fd);
}

static void a_reset_in_waitall(int fd)
{
	until_queued(fd, 4);
	go(TO_B);
	until_ended(fd);
	rd(fd, 10, MSG_WAITALL);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
}

static void data_then_reset(int fd)
{
	linger_of(fd, 1, 0);
	wr(fd, "data");
	await(TO_B);
	close(fd);
}

static void b_reset_in_waitall(int fd)
{
	data_then_reset(fd);
}

static void a_reset_in_waitall_young(int fd)
{
	a_reset_in_waitall(fd);
}

static void b_reset_in_waitall_young(int fd)
{
	data_then_reset(fd);
}

/* Nothing to send is no way past the error. */
static void a_reset_send_nothing(int fd)
{
	ssize_t n;

	handle(SIGPIPE, SA_RESTART);
	go(TO_B);
	until_ended(fd);
	pl(fd, POLLIN, 0);
	n = send(fd, "", 0, 0);
	note(" nothing=%zd/%s", n, err(n));
	n = send(fd, "", 0, 0);
	note(" nothing=%zd/%s signals=%d", n, err(n), signals);
}

static void b_reset_send_nothing(int fd)
{
	await(TO_B);
	linger_of(fd, 1, 0);
	close(fd);
}

/* ---- SIGPIPE says who sent it ---- */

static int pipe_code, pipe_mine;

static void on_pipe(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	pipe_code = si->si_code;
	pipe_mine = si->si_pid == getpid() && si->si_uid == getuid();
}

static void a_pipe_info(int fd)
{
	struct sigaction sa = { .sa_sigaction = on_pipe, .sa_flags = SA_SIGINFO | SA_RESTART };

	pipe_code = -1000;
	sigaction(SIGPIPE, &sa, NULL);
	go(TO_B);
	until_ended(fd);
	shutdown(fd, SHUT_WR);
	noted("send", send(fd, "x", 1, 0));
	note(" code=%d mine=%d", pipe_code, pipe_mine);
}

static void b_pipe_info(int fd)
{
	await(TO_B);
	close(fd);
}

/* ---- O_NONBLOCK that is set while a call sleeps is for the next one ---- */

static void sit_all(struct thr *t)
{
	char b[16];
	ssize_t n = recv(t->fd, b, 10, MSG_WAITALL);

	noted("waitall", n);
}

static void a_nonblock_in_recv(int fd)
{
	static struct thr t;

	thr_start(&t, sit_all, fd, 0);
	thr_asleep(&t);
	nonblock(fd, true);
	go(TO_B);
	thr_join(&t);
	rd(fd, 10, 0);
	go(TO_B);
}

static void b_nonblock_in_recv(int fd)
{
	await(TO_B);
	wr(fd, "12345");
	ms(100);
	wr(fd, "67890");
	await(TO_B);
}

static void sit_send(struct thr *t)
{
	part("send", send(t->fd, big, sizeof(big), 0));
}

static void a_nonblock_in_send(int fd)
{
	static struct thr t;

	thr_start(&t, sit_send, fd, 0);
	thr_asleep(&t);
	nonblock(fd, true);
	go(TO_B);
	thr_join(&t);
	shutdown(fd, SHUT_WR);
	await(TO_A);
}

static void b_nonblock_in_send(int fd)
{
	static char b[65536];

	await(TO_B);
	while (recv(fd, b, sizeof(b), 0) > 0)
		;
	go(TO_A);
}

/* ---- the sending side is shut while bytes are owed to a reader that has left the ring ---- */

static void a_shut_owing(int fd)
{
	ssize_t n;

	fill(fd, 0);
	go(TO_B);
	await(TO_A);
	noted("shut", shutdown(fd, SHUT_WR));
	n = send(fd, "", 0, MSG_NOSIGNAL);
	note(" nothing=%zd/%s", n, err(n));
	noted("shut", shutdown(fd, SHUT_WR));
	go(TO_B);
	rd(fd, 1, 0);
	noted("shut", shutdown(fd, SHUT_RDWR));
	pl(fd, POLLHUP, -1);
	go(TO_B);
}

static void read_in_order(int fd)
{
	static char b[65536];
	size_t at = 0;
	ssize_t n;
	bool well = true;

	while ((n = recv(fd, b, sizeof(b), 0)) > 0) {
		well &= same(b, at, (size_t)n);
		at += (size_t)n;
	}
	note(" right=%d end=%zd/%s", well, n, err(n));
}

static void b_shut_owing(int fd)
{
	await(TO_B);
	dup2(fd, 0);
	go(TO_A);
	await(TO_B);
	read_in_order(fd);
	close(0);
	noted("shut", shutdown(fd, SHUT_WR));
	await(TO_B);
}

static void a_close_owing(int fd)
{
	fill(fd, 0);
	go(TO_B);
	await(TO_A);
	noted("shut", shutdown(fd, SHUT_WR));
	noted("shut", shutdown(fd, SHUT_RDWR));
	go(TO_B);
	noted("close", close(fd));
}

static void b_close_owing(int fd)
{
	await(TO_B);
	dup2(fd, 0);
	go(TO_A);
	await(TO_B);
	read_in_order(fd);
}

/* However the reset, the bytes before it and the switch cross on their ways, it is never an end of file. */
enum { CROSSINGS = 24 };

static void look_for_50_ms(int fd)
{
	for (int i = 0; i < 50; i++) {
		poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 0);
		ms(1);
	}
}

static void a_reset_behind_bytes(int listener)
{
	struct pollfd p = { .events = POLLIN };
	int resets = 0;

	for (int i = 0; i < CROSSINGS; i++) {
		int fd = pick(listener);
		ssize_t n = 0;

		if (i % 2)
			warm(fd, true);
		else
			look_for_50_ms(fd); /* its direction is armed then, and its bytes are TCP's still */
		go(TO_B);
		for (p.fd = fd; poll(&p, 1, -1) > 0 && (n = recv(fd, big, 4096, 0)) > 0;)
			if (i % 4 < 2)
				ms(2);
		resets += n < 0 && errno == ECONNRESET;
		close(fd);
	}
	note(" resets=%d", resets);
}

static void b_reset_behind_bytes(int listener)
{
	(void)listener;
	for (int i = 0; i < CROSSINGS; i++) {
		int fd = dial();

		if (i % 2)
			warm(fd, false);
		else if (send(fd, big, 40000, 0) == 40000)
			look_for_50_ms(fd);
		await(TO_B);
		for (int n = 0; n < i % 2 * (20 + i); n++) {
			send(fd, big, 4096, 0);
			ms(1);
		}
		linger_of(fd, 1, 0);
		close(fd);
	}
}

static const struct test_case cases[] = {
	CASE(reset_in_send, "16", WARM),
	CASE(reset_in_send_young, "16", COLD),
	CASE(reset_in_send_recv, "16", WARM),
	CASE(reset_in_send_poll, "16", WARM),
	CASE(close_in_send, "16", WARM),
	CASE(reset_in_sendfile, "16", WARM),
	CASE(reset_in_send_twice, "16", WARM),
	CASE(reset_in_send_soerr, "16", WARM),
	CASE(reset_in_small_sends, "16", WARM),
	CASE(reset_in_waitall, "16", WARM),
	CASE(reset_in_waitall_young, "16", COLD),
	CASE(reset_send_nothing, "16", WARM),
	CASE(pipe_info, "14,16", WARM),
	CASE(nonblock_in_recv, "11", WARM),
	CASE(nonblock_in_send, "11", WARM),
	CASE(shut_owing, "7,16", WARM),
	CASE(close_owing, "7,16", WARM),
	CASE(reset_behind_bytes, "16,17", RAW),
};
GROUP(broken);
