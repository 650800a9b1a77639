/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.h - what a case of the conformance suite may use.
 *
 * A case is a pair of functions: "a" accepts, "b" connects (in the runs over IPv6 it is the other way round).  Each runs
 * in a process of its own and notes results, errno and events in its trace.  The traces of a case on plain TCP and
 * accelerated must be equal, so a trace must be the same in every run on TCP: sides are put in order by the pipes of
 * go() and await(), by until_*() which wait for a state, and never by a sleep alone.
 */
#ifndef HUTONG_CONFORMANCE_H
#define HUTONG_CONFORMANCE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How a case begins, and what the runner demands of its connection. */
enum case_kind {
	WARM,  /* both directions are on the ring before a() and b() are called */
	YOUNG, /* just connected; the case itself brings it to the ring, see cross() */
	COLD,  /* just connected; where its bytes go is not looked at */
	RAW,   /* a() gets the listener and b() -1; must be accelerated by cross() or warm() in the case */
	RAW_COLD, /* the same, where the bytes go is not looked at */
	NEVER, /* the same; everything must stay on TCP */
};

enum case_flags {
	OWN_AGENT = 1,    /* the case stops and starts the agent */
	LISTENER = 2,     /* a() finds the listener in conf_listener */
	NOT_SWAPPED = 4,  /* a() accepts also over IPv6 */
	SLOW = 8,         /* left out of the run under AddressSanitizer */
	NOT_FAR = 16,     /* left out between hosts: a difference that docs/known-limits.md gives a reason for */
};

struct test_case {
	const char *name;
	const char *rules; /* of switching.md, "5,12" */
	enum case_kind kind;
	unsigned int flags;
	void (*a)(int fd), (*b)(int fd);
};

struct group {
	const char *name;
	const struct test_case *cases;
	size_t n;
};

#define CASE(name, rules, kind) { #name, rules, kind, 0, a_##name, b_##name }
#define CASE_F(name, rules, kind, flags) { #name, rules, kind, flags, a_##name, b_##name }
#define GROUP(g) const struct group group_##g = { #g, cases, sizeof(cases) / sizeof(cases[0]) }

/* ---- the trace ---- */

void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *err(ssize_t r); /* "-" or the name of errno */
void noted(const char *what, ssize_t r); /* " what=r/errno" */

/* ---- order ---- */

enum { TO_A, TO_B, TO_KID };

void go(int whom);    /* the other may go on; counted */
void await(int whom);
void ms(int n);
void until_state(int fd, int state);    /* of TCP: CLOSE_WAIT, CLOSE, ... */
void until_ended(int fd);               /* the peer has closed, reset or died */
void until_queued(int fd, int bytes);   /* FIONREAD */
void until_readable(int fd);            /* poll */
void until_asleep(pid_t tid);           /* the thread or process sleeps in a call */
void rest_begin(void);                  /* between these two the thread should have slept: said in the trace */
void rest_end(void);
enum { ESTABLISHED = 1, FIN_WAIT1 = 4, FIN_WAIT2 = 5, CLOSED = 7, CLOSE_WAIT = 8, LAST_ACK = 9 };
int tcp_state(int fd);

/* ---- more connections, and the way to the ring ---- */

extern int conf_listener;
extern bool conf_is_a;
int dial_start(bool nonblock);          /* socket and connect(); -1 with errno */
int dial(void);
int pick(int listener);                 /* accept */
struct sockaddr_storage conf_address(socklen_t *len);
struct sockaddr_storage other_address(int n, socklen_t *len); /* 2: declined by the agent, 3: not a member */
int listen_at(int n);                   /* at other_address(n), the port as always */
int dial_to(int n, int from);           /* from 0: any */
void warm(int fd, bool first);          /* single bytes to and fro until both directions are on the ring */
void cross(int fd);                     /* the same for the case's own connection; both sides call it */
void push(int fd);                      /* one way only: this side sends until its direction is on the ring ... */
void pull(int fd);                      /* ... while the other receives */
void agent_kill(void);
void agent_start(void);
void agent_start_late(void);            /* one that wants no connection before an hour or 4 GB */
void agent_start_dying(int where);      /* between hosts: one that dies in its first payment, see enum far_die ... */
bool agent_ends(void);                  /* ... and has done so, or the case fails; false: no such thing here */
void agent_pause(void);                 /* SIGSTOP */
void agent_go_on(void);
void agent_switch(void);                /* acceleration off, and the next time on again */
bool agent_loses(void);                 /* between hosts: its lines, see testagent.c; false: no such thing here */
void agent_mark(void);                  /* so many descriptors it has now ... */
bool agent_as_marked(void);             /* ... and no more again */

/* ---- children and threads, each with its own part of the trace ---- */

pid_t kid(void);                        /* fork(): the child notes in a trace of its own */
void kid_is(int slot);                  /* a child made in another way takes a trace */
void reap(pid_t pid);                   /* and note how it ended */

struct thr {
	pthread_t t;
	_Atomic pid_t tid;
	void (*fn)(struct thr *);
	int fd;
	int arg;
	char text[1024];
	size_t used;
};

void thr_start(struct thr *t, void (*fn)(struct thr *), int fd, int arg);
void thr_asleep(struct thr *t);
void thr_join(struct thr *t);           /* its trace goes to the end of this thread's */
void t_recv(struct thr *t);             /* recv of `arg` bytes */

/* ---- signals ---- */

extern _Atomic int signals;
void on_signal(int sig);
void handle(int sig, int flags);        /* on_signal with these sa_flags */
struct poker {
	pthread_t t;
	pid_t target;
	pthread_t thread;
	int sig, whom;
};
/* When the caller sleeps it gets the signal; when it has had it and sleeps again, `whom` may go on. */
void poke_me(struct poker *p, int sig, int whom);
void poke_done(struct poker *p);

/* ---- traced calls ---- */

void rd(int fd, size_t n, int flags);   /* recv */
void rdx(int fd, size_t n);             /* read */
void wr(int fd, const char *s);         /* send with MSG_NOSIGNAL */
void wrf(int fd, const char *s, int flags);
void pl(int fd, short want, int timeout);
void ew(int ep, int timeout);
void ewn(int ep, int max, int timeout);
int ep_add(int ep, int fd, uint32_t events, uint64_t data);
int ep_mod(int ep, int fd, uint32_t events, uint64_t data);
void soerr(int fd);
void nonblock(int fd, bool on);
void rcvtimeo(int fd, int n_ms);
void sndtimeo(int fd, int n_ms);
void linger_of(int fd, int on, int seconds);

void write_until_error(int fd);         /* single bytes; on TCP the second is refused, but when is nobody's promise */
size_t fill(int fd, size_t from);       /* until nothing more is taken for some time; leaves the socket blocking */

/* Bytes that tell their place: [from, from + n) of a stream. put() and take() end early only at an error or the end. */
size_t put(int fd, size_t from, size_t n);
size_t take(int fd, size_t from, size_t n);
void read_out(int fd);                  /* to the end of the stream, or an error; notes how much it was, and which */
void pattern(char *buf, size_t from, size_t n);
bool same(const char *buf, size_t from, size_t n);

#endif
