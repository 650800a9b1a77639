/* SPDX-License-Identifier: Apache-2.0 */
/* side.c - one of the two programs: its slots, each with one connection after the other. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "random.h"

static struct conn conns[MAX_SLOTS];
static struct {
	_Atomic int fd;
	sem_t come;
} accepted[MAX_SLOTS];

struct conn *conn_at(int slot)
{
	return &conns[slot];
}

uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

void sleep_us(uint64_t us)
{
	nanosleep(&(struct timespec){ (time_t)(us / 1000000), (long)(us % 1000000) * 1000 }, NULL);
}

/* ---- failure: the process stands still, so that the launcher can look at it ---- */

static void stand_still(void)
{
	script_flush();
	for (;;)
		pause();
}

void check_alive(void)
{
	if (atomic_load_explicit(&sh->failed, memory_order_relaxed))
		stand_still();
}

void fail(const struct conn *c, const char *fmt, ...)
{
	int none = 0, n = 0;
	va_list ap;

	if (atomic_compare_exchange_strong(&sh->failed, &none, 1)) {
		if (c)
			n = snprintf(sh->message, sizeof(sh->message), "%s, slot %d, generation %u, mode %s: ",
				     my_role == CLIENT ? "client" : "server", c->slot, c->gen,
				     mode_name(c->plan.mode[my_role]));
		va_start(ap, fmt);
		vsnprintf(sh->message + n, sizeof(sh->message) - (size_t)n, fmt, ap);
		va_end(ap);
		atomic_store(&sh->failed, 2);
	}
	stand_still();
	abort();
}

void doing(const struct conn *c, int dir, const char *fmt, ...)
{
	struct doing *d = &c->seen->doing[my_role][dir == OUT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->what, sizeof(d->what), fmt, ap);
	va_end(ap);
	atomic_store_explicit(&d->since_ns, mono_ns(), memory_order_relaxed);
	atomic_fetch_add_explicit(&d->calls, 1, memory_order_relaxed);
	atomic_store_explicit(&d->tid, (pid_t)syscall(SYS_gettid), memory_order_relaxed);
}

/* ---- connections ---- */

static socklen_t address(int family6, int port, struct sockaddr_storage *ss)
{
	struct sockaddr_in *in = (void *)ss;
	struct sockaddr_in6 *in6 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (family6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		inet_pton(AF_INET6, opt->address[1], &in6->sin6_addr);
		return sizeof(*in6);
	}
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	inet_pton(AF_INET, opt->address[0], &in->sin_addr);
	return sizeof(*in);
}

static uint16_t port_of(const struct sockaddr_storage *ss)
{
	return ntohs(ss->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)ss)->sin6_port :
						  ((const struct sockaddr_in *)ss)->sin_port);
}

static int dial(struct conn *c)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int one = 1, fd, family = c->plan.family, err = 0;

	for (int tries = 0; tries < 50; tries++) {
		fd = socket(family ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (c->plan.connect_nonblock ? SOCK_NONBLOCK : 0), 0);
		if (fd < 0)
			fail(c, "socket: %s", strerror(errno));
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		len = address(family, 0, &ss);
		if (bind(fd, (struct sockaddr *)&ss, len) || getsockname(fd, (struct sockaddr *)&ss, &len))
			fail(c, "bind: %s", strerror(errno));
		atomic_store(&c->seen->port, port_of(&ss));
		atomic_store(&sh->by_port[family][port_of(&ss)], (uint32_t)c->slot + 1);
		len = address(family, opt->port, &ss);
		atomic_store(&c->seen->fd[my_role], fd);
		if (connect(fd, (struct sockaddr *)&ss, len) == 0)
			return fd;
		if (errno == EINPROGRESS && c->plan.connect_nonblock) {
			struct pollfd p = { fd, POLLOUT, 0 };

			while (poll(&p, 1, -1) < 0 && errno == EINTR)
				;
			len = sizeof(err);
			if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
				fail(c, "SO_ERROR: %s", strerror(errno));
			if (!err)
				return fd;
			errno = err;
		}
		if (errno != EADDRNOTAVAIL && errno != EADDRINUSE)
			fail(c, "connect: %s", strerror(errno));
		close(fd); /* the pair of ports is in TIME_WAIT */
	}
	fail(c, "no port to connect from");
}

static void begin_conn(struct conn *c, uint32_t gen)
{
	pthread_mutex_lock(&c->lock);
	c->gen = gen;
	gen_plan(c->slot, gen, &c->plan);
	c->out = &c->seen->way[my_role];
	c->in = &c->seen->way[!my_role];
	c->alias = c->file = c->ep = c->ep2 = c->event = c->pipe[0] = c->pipe[1] = -1;
	c->sent = c->got = 0;
	c->n_out = c->n_in = c->ask_n = c->registered = 0;
	c->out_done = c->in_done = c->hup = c->short_in = c->short_out = c->pipe_full = c->event_set = false;
	c->timed[0] = c->timed[1] = c->sent_all = c->shut = false;
	c->born_ns = mono_ns();
	pthread_mutex_unlock(&c->lock);
	script_note_plan(c->slot, gen, &c->plan);
}

static void end_conn(struct conn *c)
{
	finish_out(c);
	doing(c, IN, "close");
	doing(c, OUT, "close");
	if (c->alias >= 0 && close(c->alias))
		fail(c, "close: %s", strerror(errno));
	if (close(c->fd))
		fail(c, "close: %s", strerror(errno));
	if (c->file >= 0)
		close(c->file);
	c->alias = c->file = -1;
	doing(c, IN, "-");
	doing(c, OUT, "-");
	atomic_store(&c->seen->fd[my_role], -1);
	atomic_store(&c->seen->done[my_role], c->gen);
}

static bool more_to_come(uint32_t gen)
{
	return atomic_load(&sh->phase) == RUN && (!opt->gens || gen <= (uint32_t)opt->gens);
}

static void *client_slot(void *arg)
{
	struct conn *c = arg;
	struct rng r = rng_of(7, (uint64_t)c->slot, 0);

	for (uint32_t gen = 1;; gen++) {
		/* Both sides have ended the last one, and the launcher wants more. */
		while (atomic_load(&c->seen->done[SERVER]) != gen - 1 || !more_to_come(gen)) {
			check_alive();
			if (atomic_load(&sh->phase) == END)
				return NULL;
			sleep_us(500);
		}
		while (!atomic_load(&sh->listening))
			sleep_us(1000);
		begin_conn(c, gen);
		memset((void *)c->seen->way, 0, sizeof(c->seen->way));
		for (int d = 0; d < 2; d++)
			atomic_store(&c->seen->way[d].total, c->plan.total[d]);
		atomic_store(&c->seen->gen, gen);
		doing(c, IN, "connect");
		doing(c, OUT, "connect");
		c->fd = dial(c);
		c->nonblock = c->plan.connect_nonblock;
		run_conn(c);
		end_conn(c);
		if (rng_next(&r) % 4 == 0)
			sleep_us(rng_next(&r) % 5000);
	}
}

static void *server_slot(void *arg)
{
	struct conn *c = arg;
	struct timespec ts;

	for (;;) {
		do {
			check_alive();
			if (atomic_load(&sh->phase) == END)
				return NULL;
			clock_gettime(CLOCK_REALTIME, &ts);
			ts.tv_sec++;
		} while (sem_timedwait(&accepted[c->slot].come, &ts));
		begin_conn(c, atomic_load(&c->seen->gen));
		c->fd = atomic_load(&accepted[c->slot].fd);
		c->nonblock = fcntl(c->fd, F_GETFL) & O_NONBLOCK;
		atomic_store(&c->seen->fd[my_role], c->fd);
		run_conn(c);
		end_conn(c);
	}
}

static void hand_over(int listener, int family, struct rng *r)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	uint64_t x = rng_next(r);
	int fd = x & 1 ? accept4(listener, (struct sockaddr *)&ss, &len, SOCK_CLOEXEC | (x & 2 ? SOCK_NONBLOCK : 0)) :
			 accept(listener, (struct sockaddr *)&ss, &len);
	uint32_t slot;

	if (fd < 0)
		fail(NULL, "accept: %s", strerror(errno));
	if (!(x & 1))
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	slot = atomic_exchange(&sh->by_port[family][port_of(&ss)], 0);
	if (!slot || slot > (uint32_t)opt->conns)
		fail(NULL, "a connection from port %u, which nobody has announced", port_of(&ss));
	atomic_store(&accepted[slot - 1].fd, fd);
	sem_post(&accepted[slot - 1].come);
}

static void serve(void)
{
	struct pollfd p[2];
	struct rng r = rng_of(8, 0, 0);

	for (int i = 0; i < 2; i++) {
		struct sockaddr_storage ss;
		socklen_t len = address(i, opt->port, &ss);
		int one = 1;

		p[i] = (struct pollfd){ socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), POLLIN, 0 };
		setsockopt(p[i].fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(p[i].fd, (struct sockaddr *)&ss, len) || listen(p[i].fd, 256))
			fail(NULL, "listen: %s", strerror(errno));
	}
	atomic_store(&sh->listening, 1);
	while (atomic_load(&sh->phase) != END) {
		check_alive();
		if (poll(p, 2, 200) <= 0)
			continue;
		for (int i = 0; i < 2; i++)
			if (p[i].revents)
				hand_over(p[i].fd, i, &r);
	}
}

int side_main(enum role role)
{
	static pthread_t t[MAX_SLOTS];
	sigset_t set;

	my_role = role;
	signal(SIGPIPE, SIG_IGN);
	signals_mask(NULL, &set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (opt->replay)
		script_load(opt->replay);
	workers_start();
	for (int i = 0; i < opt->conns; i++) {
		struct conn *c = &conns[i];

		if (opt->only >= 0 && i != opt->only)
			continue;
		c->slot = i;
		c->seen = &sh->slot[i];
		pthread_mutex_init(&c->lock, NULL);
		sem_init(&c->done, 0, 0);
		sem_init(&accepted[i].come, 0, 0);
		c->buf_in = malloc(MAX_CALL + 1);
		c->buf_out = malloc(MAX_CALL);
		if (!c->buf_in || !c->buf_out)
			fail(NULL, "no memory");
		memset(c->buf_in, 1, MAX_CALL); /* all of it is there from the beginning, for the counters */
		memset(c->buf_out, 1, MAX_CALL);
		if (pthread_create(&t[i], NULL, role == CLIENT ? client_slot : server_slot, c))
			fail(NULL, "no thread");
	}
	noise_start();
	if (role == SERVER)
		serve();
	while (atomic_load(&sh->phase) != END) {
		check_alive();
		sleep_us(10000);
	}
	for (int i = 0; i < opt->conns; i++)
		if (t[i])
			pthread_join(t[i], NULL);
	script_flush();
	exit(0);
}
