/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile.h - what the parts of the hostile-peer test know of each other.
 *
 * The shim's own sources are linked in.  One connection is the victim; whatever a peer may write of it, the two struct
 * hut_dir and the rings' bytes, is written by this program between the victim's calls (main.c) or during them (scribble
 * in main.c, live.c).  kernel.c stands in for the kernel, so that nearly all calls run without system calls and in
 * virtual time; live.c has the real one.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "../../src/real.h"
#include "../../src/conn.h"

/* ---- kernel.c, below.c: a TCP socket, its doorbells and an epoll set, without a kernel ---- */

#define VICTIM_FD 40
#define OTHER_FD 41
#define BELL_FD 42
#define PEER_BELL_FD 43
#define EPOLL_FD 44
#define INQ_MAX 8192u

struct ksock {
	uint64_t in_total;  /* bytes that ever arrived, read or not */
	uint64_t out_total; /* bytes that the victim ever gave to TCP */
	uint32_t inq, outq, out_cap;
	bool fin, rst, dead, shut_rd, shut_wr;
	bool unconnected;   /* by ourselves */
	bool peer_dead;     /* whatever is sent to it brings a reset */
	bool changed;       /* an edge for the epoll set */
};

extern struct ksock ksock[2]; /* of VICTIM_FD and OTHER_FD */
extern uint64_t vnow;         /* virtual CLOCK_MONOTONIC */
extern uint64_t kernel_sleeps;
extern bool kernel_live;      /* pass everything on to the real one */

void kernel_init(void);
void kernel_reset(void);      /* the doorbells and the epoll set; ksock is the caller's */
void kernel_begin_call(unsigned int patience, bool abrupt); /* sleeps before the peer's socket is closed, and how */
void kernel_peer_dies(bool abrupt);

int fail(int err); /* sets errno; always -1 */
struct ksock *sock_of(int fd);
ssize_t k_recv(struct ksock *k, const struct iovec *iov, size_t n, bool peek);
ssize_t k_send(struct ksock *k, const struct iovec *iov, size_t n);
short k_poll(const struct ksock *k, short want);
int k_shutdown(struct ksock *k, int how);
int k_option(const struct ksock *k, int level, int name, void *val, socklen_t *len);
int k_sleep(struct pollfd *p, nfds_t n, const struct timespec *ts);
int k_epoll_wait(struct epoll_event *ev, int max, int timeout);
int k_epoll_ctl(int op, int fd, const struct epoll_event *ev);
void k_ring(int fd);
void k_drain(void);

/* ---- cover.c ---- */

extern uint64_t cover_new;    /* counts edges, by state of the connection, that were never seen before */
extern uint64_t cover_edges;  /* distinct edges */
extern uint32_t cover_state;  /* mixed into the map's index */
extern int64_t cover_budget;  /* edges that the call under way may still take: the deterministic watchdog */

/* ---- steps: what a test case is made of ---- */

enum step_kind { STEP_WRITE, STEP_PEER, STEP_TCP, STEP_TIME, STEP_CALL, STEP_KINDS };

struct step {
	uint8_t kind, a, b, c;
	uint32_t v;
};

#define STEPS_MAX 40

struct script {
	uint8_t start; /* which template the connection begins with */
	uint8_t n;
	struct step step[STEPS_MAX];
};

uint64_t rnd(void);
uint32_t below(uint32_t n);
void rnd_seed(uint64_t seed);
void script_random(struct script *s);
void script_mutate(struct script *s, const struct script *other);
void script_print(const struct script *s, FILE *f);
bool script_read(struct script *s, FILE *f);

/* ---- world.c: the victim ---- */

#define SMALL 4096u
#define OVER 8192u
#define TEMPLATES 10

extern struct conn *victim, *other;
extern struct hut_end *victim_end, *other_end;
extern uint64_t taken, given; /* bytes that the program has received and sent since the reset, beside the template's */

void world_init(void);
void world_reset(unsigned int template);
void world_check_cursors(const char *after);
void world_check(const char *after);
void world_check_other(void);
void world_state(void);               /* sets cover_state */
bool world_over(void);                /* poisoned, or plain TCP: little is left to try */
void world_print(FILE *f);
uint64_t place_near(unsigned int which);
__attribute__((noreturn, format(printf, 1, 2))) void violation(const char *fmt, ...);
void save_case(void);                 /* writes the case under way where --replay finds it */

/* ---- moves.c: what the peer does ---- */

#define FIELDS 28
bool move_write(const struct step *s); /* any value anywhere; true: something has changed */
void move_peer(const struct step *s);  /* as a lawful peer would */
void move_tcp(const struct step *s);
uint64_t *dir_word(struct hut_dir *d, unsigned int field, bool *narrow);

/* ---- calls.c: what the victim's program does ---- */

#define CALLS 34
void call_run(const struct step *s);
const char *call_name(unsigned int a);
void call_buffers(void);

/* ---- live.c ---- */

uint64_t live_run(double seconds, uint64_t seed);

/* live.c: connections of the loopback device, with what belongs to a channel. */
void live_die(const char *what);
int live_pair(int *peer);
int live_segment(size_t len, bool sealed);
struct conn *live_track(int fd, struct hut_msg *m, int seg);

void events_run(void); /* events.c */
void late_run(void);   /* late.c */

#endif
