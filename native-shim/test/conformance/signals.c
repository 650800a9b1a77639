/* SPDX-License-Identifier: Apache-2.0 */
/* signals.c - cases about signals and cancellation. */
#include <sys/select.h>

#include "harness.h"

extern __sighandler_t sysv_signal(int, __sighandler_t);

/* Interrupted once while it sleeps; then the peer writes four bytes. */
static void recv_with(int fd, int sig)
{
	struct poker p;

	poke_me(&p, sig, TO_B);
	rd(fd, 4, 0);
	poke_done(&p);
	rcvtimeo(fd, 0);
	rd(fd, 4, MSG_DONTWAIT | MSG_PEEK);
}

static void peer_writes(int fd)
{
	await(TO_B);
	wr(fd, "data");
	rd(fd, 1, 0);
}

static void a_restart(int fd)
{
	handle(SIGUSR1, SA_RESTART);
	recv_with(fd, SIGUSR1);
}

static void b_restart(int fd)
{
	peer_writes(fd);
}

static void eintr_then_data(int fd)
{
	struct poker p;

	poke_me(&p, SIGUSR1, TO_B);
	rd(fd, 4, 0);
	poke_done(&p);
	rcvtimeo(fd, 0);
	until_queued(fd, 4);
	rd(fd, 4, MSG_DONTWAIT);
}

static void a_eintr(int fd)
{
	handle(SIGUSR1, 0);
	eintr_then_data(fd);
}

static void b_eintr(int fd)
{
	peer_writes(fd);
}

/* With SO_RCVTIMEO nothing is restarted, whatever SA_RESTART says. */
static void a_timeo_no_restart(int fd)
{
	handle(SIGUSR1, SA_RESTART);
	rcvtimeo(fd, 5000);
	eintr_then_data(fd);
}

static void b_timeo_no_restart(int fd)
{
	peer_writes(fd);
}

/* Of two handlers only the one without SA_RESTART interrupts. */
static void a_mixed_handlers(int fd)
{
	handle(SIGUSR1, SA_RESTART);
	handle(SIGUSR2, 0);
	recv_with(fd, SIGUSR1);
}

static void b_mixed_handlers(int fd)
{
	peer_writes(fd);
}

static void a_siginterrupt(int fd)
{
	signal(SIGUSR1, on_signal);
	siginterrupt(SIGUSR1, 1);
	eintr_then_data(fd);
	siginterrupt(SIGUSR1, 0);
	recv_with(fd, SIGUSR1);
}

static void b_siginterrupt(int fd)
{
	await(TO_B);
	wr(fd, "data");
	peer_writes(fd);
}

static void a_signal_restarts(int fd)
{
	signal(SIGUSR1, on_signal);
	recv_with(fd, SIGUSR1);
}

static void b_signal_restarts(int fd)
{
	peer_writes(fd);
}

/* System V's signal() interrupts, and its handler is good for one signal. */
static void a_sysv_signal(int fd)
{
	struct sigaction now;

	sysv_signal(SIGUSR1, on_signal);
	eintr_then_data(fd);
	sigaction(SIGUSR1, NULL, &now);
	note(" default=%d", now.sa_handler == SIG_DFL);
}

static void b_sysv_signal(int fd)
{
	peer_writes(fd);
}

/* A handler that was interrupting once and is not any more. */
static void a_handler_changed(int fd)
{
	handle(SIGUSR1, 0);
	handle(SIGUSR1, SA_RESTART);
	handle(SIGUSR2, 0);
	signal(SIGUSR2, SIG_IGN);
	recv_with(fd, SIGUSR1);
}

static void b_handler_changed(int fd)
{
	peer_writes(fd);
}

/* poll, select and epoll_wait never restart. */
static void a_poll_eintr(int fd)
{
	struct poker p;
	fd_set r;
	int ep = epoll_create1(0);
	struct pollfd pf = { fd, POLLIN, 0 };
	sigset_t none;

	ep_add(ep, fd, EPOLLIN, 1);
	sigemptyset(&none);
	handle(SIGUSR1, SA_RESTART);
	for (int i = 0; i < 6; i++) {
		poke_me(&p, SIGUSR1, -1);
		FD_ZERO(&r);
		FD_SET(fd, &r);
		if (i == 0)
			pl(fd, POLLIN, 5000);
		else if (i == 1)
			noted("select", select(fd + 1, &r, NULL, NULL, NULL));
		else if (i == 2)
			ew(ep, -1);
		else if (i == 3)
			noted("ppoll", ppoll(&pf, 1, NULL, &none));
		else if (i == 4)
			noted("pselect", pselect(fd + 1, &r, NULL, NULL, NULL, &none));
		else
			noted("pwait", epoll_pwait(ep, &(struct epoll_event){ 0 }, 1, -1, &none));
		poke_done(&p);
	}
	go(TO_B);
	rd(fd, 4, 0);
}

static void b_poll_eintr(int fd)
{
	peer_writes(fd);
}

/* A signal that is blocked outside and let in by the call's own mask. */
static void a_masks(int fd)
{
	sigset_t block, open;
	struct pollfd p = { fd, POLLIN, 0 };
	int ep = epoll_create1(0);

	handle(SIGUSR1, 0);
	sigemptyset(&open);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	ep_add(ep, fd, EPOLLIN, 1);
	raise(SIGUSR1);
	pl(fd, POLLIN, 10);
	note(" signals=%d", signals);
	noted("ppoll", ppoll(&p, 1, &(struct timespec){ 2, 0 }, &open));
	raise(SIGUSR1);
	noted("pselect", pselect(0, NULL, NULL, NULL, &(struct timespec){ 2, 0 }, &open));
	raise(SIGUSR1);
	noted("epoll_pwait", epoll_pwait(ep, &(struct epoll_event){ 0 }, 1, 2000, &open));
	note(" signals=%d", signals);
	raise(SIGUSR1);
	go(TO_B);
	until_queued(fd, 4);
	noted("ready", ppoll(&p, 1, &(struct timespec){ 2, 0 }, &block));
	rd(fd, 4, 0);
	note(" signals=%d", signals);
}

static void b_masks(int fd)
{
	peer_writes(fd);
}

/* send on a full connection: restarted, interrupted, and interrupted after a part. */
static void send_full(int fd, bool full, int flags)
{
	static char big[16000000];
	struct poker p;
	size_t n = 0;
	ssize_t r;

	handle(SIGUSR1, flags);
	pattern(big, 0, sizeof(big));
	if (full)
		n = fill(fd, 0);
	poke_me(&p, SIGUSR1, TO_B);
	r = send(fd, big + n, sizeof(big) - n, MSG_NOSIGNAL);
	/* Restarted after a part has gone it gives the part, so only an interrupting handler makes a difference. */
	if (!(flags & SA_RESTART) || !full)
		note(" interrupted=%d", r < 0 ? errno == EINTR : (size_t)r < sizeof(big) - n);
	poke_done(&p);
	n += r > 0 ? (size_t)r : 0;
	while (n < sizeof(big) && (r = send(fd, big + n, sizeof(big) - n, MSG_NOSIGNAL)) > 0)
		n += (size_t)r;
	note(" sent=%zu", n);
}

static void a_send_restart(int fd)
{
	send_full(fd, true, SA_RESTART);
}

static void a_send_eintr(int fd)
{
	send_full(fd, true, 0);
}

static void a_send_part(int fd)
{
	send_full(fd, false, SA_RESTART);
}

static void b_send_restart(int fd)
{
	await(TO_B);
	note(" got=%zu", take(fd, 0, 16000000));
}

static void b_send_eintr(int fd)
{
	b_send_restart(fd);
}

static void b_send_part(int fd)
{
	b_send_restart(fd);
}

/* With SO_SNDTIMEO a send that sleeps is not restarted. */
static void a_sndtimeo_no_restart(int fd)
{
	static char big[65536];
	struct poker p;
	ssize_t r;

	fill(fd, 0);
	handle(SIGUSR1, SA_RESTART);
	sndtimeo(fd, 8000);
	poke_me(&p, SIGUSR1, TO_B);
	while ((r = send(fd, big, sizeof(big), MSG_NOSIGNAL)) == (ssize_t)sizeof(big))
		;
	note(" interrupted=%d", r < 0 ? errno == EINTR : true);
	poke_done(&p);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_sndtimeo_no_restart(int fd)
{
	static char buf[65536];

	await(TO_B);
	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
}

/* accept and connect are interrupted as the kernel does it, also with the shim around them. */
static void a_accept_eintr(int listener)
{
	struct poker p;

	handle(SIGUSR1, 0);
	poke_me(&p, SIGUSR1, -1);
	noted("accept", accept(listener, NULL, NULL));
	poke_done(&p);
	handle(SIGUSR1, SA_RESTART);
	poke_me(&p, SIGUSR1, TO_B);
	warm(pick(listener), false);
	poke_done(&p);
}

static void b_accept_eintr(int none)
{
	(void)none;
	await(TO_B);
	warm(dial(), true);
}

/* WAITALL that has got a part gives it when it is interrupted. */
static void a_waitall_part(int fd)
{
	struct poker p;

	handle(SIGUSR1, SA_RESTART);
	until_queued(fd, 3);
	poke_me(&p, SIGUSR1, TO_B);
	rd(fd, 7, MSG_WAITALL);
	poke_done(&p);
	until_queued(fd, 4);
	rd(fd, 4, MSG_DONTWAIT);
}

static void b_waitall_part(int fd)
{
	wr(fd, "abc");
	peer_writes(fd);
}

/* A handler that itself opens, writes, duplicates and closes sockets, in the middle of the same work outside. */
static int handler_fd;
static int handler_pair[2];

static void busy_handler(int sig)
{
	int e = errno, s, d;
	char c;

	(void)sig;
	signals++;
	s = socket(AF_INET, SOCK_STREAM, 0);
	d = dup(handler_fd);
	(void)!write(handler_pair[0], "x", 1);
	(void)!read(handler_pair[1], &c, 1);
	(void)!recv(d, &c, 1, MSG_DONTWAIT | MSG_PEEK);
	close(d);
	close(s);
	errno = e;
}

static void a_busy_handler(int fd)
{
	struct sigaction sa = { .sa_handler = busy_handler, .sa_flags = SA_RESTART };
	pid_t me = getpid(), p;
	int echoed = 0;
	char c;

	handler_fd = fd;
	socketpair(AF_UNIX, SOCK_STREAM, 0, handler_pair);
	sigaction(SIGUSR1, &sa, NULL);
	p = fork();
	if (p == 0) {
		signal(SIGUSR1, SIG_IGN);
		for (int i = 0; i < 1000; i++) {
			kill(me, SIGUSR1);
			if (i % 4 == 0)
				ms(1);
		}
		_exit(0);
	}
	while (waitpid(p, NULL, WNOHANG) == 0) {
		int ep = epoll_create1(0), s = socket(AF_INET, SOCK_STREAM, 0), d = dup(fd);

		ep_add(ep, fd, EPOLLIN, 1);
		send(d, "e", 1, MSG_NOSIGNAL);
		echoed += recv(fd, &c, 1, 0) == 1;
		close(d);
		close(s);
		close(ep);
	}
	note(" signals=%d echoed=%d", signals > 10, echoed > 10);
	wr(fd, "q");
}

static void b_busy_handler(int fd)
{
	char c = 0;

	while (c != 'q' && recv(fd, &c, 1, 0) == 1)
		if (c != 'q')
			send(fd, &c, 1, MSG_NOSIGNAL);
	note(" last=%c", c);
}

static const struct test_case cases[] = {
	CASE(restart, "14", WARM),
	CASE(eintr, "14", WARM),
	CASE(timeo_no_restart, "14", WARM),
	CASE(mixed_handlers, "14", WARM),
	CASE(siginterrupt, "14", WARM),
	CASE(signal_restarts, "14", WARM),
	CASE(sysv_signal, "14", WARM),
	CASE(handler_changed, "14", WARM),
	CASE(poll_eintr, "14,11,12", WARM),
	CASE(masks, "14,11", WARM),
	CASE_F(send_restart, "14,9", WARM, SLOW),
	CASE_F(send_eintr, "14,9", WARM, SLOW),
	CASE_F(send_part, "14,9", WARM, SLOW),
	CASE_F(sndtimeo_no_restart, "14,9", WARM, SLOW),
	CASE(accept_eintr, "14", RAW),
	CASE(waitall_part, "14,5", WARM),
	CASE(busy_handler, "14", WARM),
};
GROUP(signals);
