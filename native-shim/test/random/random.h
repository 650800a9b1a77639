/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random.h - two programs that make random legal calls on many connections and check every byte and every event.
 *
 * main.c: options, the launcher; watch.c: what the launcher sees of both sides; shrink.c: smaller runs that still fail;
 * gen.c: what is drawn from the seed; script.c: recording and replaying; side.c: one side, its connections;
 * calls.c: sending and receiving; extra.c: other calls in between; waits.c: a connection with threads of its own;
 * workers.c: threads that share epoll sets; noise.c: signals and forks.
 *
 * Everything that is drawn is a function of (seed, slot, generation, role, direction, number of the call), and of
 * nothing that has happened, so that a part of a run can be run alone.
 */
#ifndef RANDOM_H
#define RANDOM_H

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define MAX_SLOTS 128
#define MAX_CALL 300000u
#define MAX_PARTS 40
#define IN 1
#define OUT 2

enum role { CLIENT, SERVER };

enum call {
	C_SEND, C_WRITE, C_WRITEV, C_SENDMSG, C_SENDTO, C_SENDMMSG, C_SENDFILE,
	C_RECV, C_READ, C_READV, C_RECVMSG, C_RECVFROM, C_RECVMMSG,
	C_CALLS
};

/* Flags of a call, and what is done before it. */
enum extra {
	X_MORE = C_CALLS, X_DONTWAIT, X_WAITALL, X_TRUNC, X_PEEK, X_FIONREAD, X_POLL, X_TOGGLE, X_TIMEO, X_DUP, X_OPTION,
	X_PAUSE, X_EOF_AGAIN,
	X_KINDS
};

enum mode {
	M_THREADS, M_THREADS_EPOLL, M_POLL, M_PPOLL, M_SELECT, M_PSELECT, M_LEVEL, M_EDGE, M_EDGE_SHORT, M_ONESHOT, M_TRIES,
	M_WORK_LEVEL, M_WORK_EDGE, M_WORK_ONESHOT,
	M_MODES
};

struct options {
	uint64_t seed;
	int conns;           /* slots, each with one connection at a time */
	int only;            /* this slot alone, or -1 */
	int gens;            /* connections a slot, 0: until the time is over */
	double seconds, warmup, stall;
	uint64_t bytes;      /* at most, a direction */
	uint64_t kinds;      /* bits of enum call and enum extra */
	uint32_t modes;      /* bits of enum mode */
	int signals, forks, family;
	int workers;
	uint32_t chaos;
	const char *preload[2], *agent, *record, *replay, *address[2], *stats;
	int port;
	const char *gdb;
	bool shrink, counters;
	int repeats;
};

/* One call, as drawn or as read from a script. */
struct op {
	uint8_t call, extra; /* extra: 0, or one of enum extra that is not a flag */
	bool more, dontwait, waitall, trunc, peek;
	uint8_t parts;
	uint32_t size, pause_us, arg;
	uint64_t at_us;      /* replay: not before that, since the connection began */
};

struct plan {
	uint64_t total[2];   /* by direction: 0 client to server */
	uint8_t family, mode[2];
	bool toggles, timeouts, signals, second_set, direct_close, connect_nonblock, slow, late_shut;
};

/* What both sides and the launcher know of a connection, not through the shim. */
struct way {
	_Atomic uint64_t tried; /* sent when the call under way has sent all */
	_Atomic uint64_t sent, got;
	_Atomic uint64_t total;
	_Atomic uint32_t shut, eof;
};

struct doing {
	char what[40];
	_Atomic uint64_t since_ns;
	_Atomic uint32_t calls;
	_Atomic pid_t tid;
};

struct seen {
	_Atomic uint32_t gen;     /* of the connection that is under way or was last, from 1 */
	_Atomic uint32_t done[2]; /* last generation that this side has closed */
	_Atomic int fd[2];
	_Atomic uint16_t port;
	struct way way[2];
	struct doing doing[2][2]; /* role, direction */
};

enum phase { RUN, DRAIN, END };

struct shared {
	_Atomic int phase;
	_Atomic int failed;
	char message[1000];
	_Atomic int listening;
	_Atomic uint32_t by_port[2][65536]; /* family, port: slot + 1 */
	_Atomic uint64_t made[2][X_KINDS], modes[2][M_MODES];
	_Atomic uint64_t bytes[2], signals[2], forks[2], blunt_out[2];
	struct seen slot[MAX_SLOTS];
};

extern struct shared *sh;
extern struct options *opt;
extern enum role my_role;

struct conn {
	int slot;
	uint32_t gen;
	struct plan plan;
	struct seen *seen;
	struct way *out, *in;
	int fd;              /* registered, waited for */
	int alias;           /* a second descriptor, or -1 */
	uint64_t sent, got;
	uint32_t n_out, n_in;
	bool out_done, in_done;
	_Atomic bool sent_all, shut;
	_Atomic bool nonblock; /* O_NONBLOCK is set */
	bool may_block;      /* each direction has its own thread */
	bool timed[2];       /* SO_RCVTIMEO, SO_SNDTIMEO are set */
	bool short_in, short_out; /* the last call moved less than it was asked to */
	int file;            /* for sendfile */
	uint64_t born_ns;
	int ep, ep2;         /* epoll sets, or -1 */
	uint32_t registered; /* events */
	int pipe[2], event;  /* beside the connection in what is waited for */
	bool pipe_full, event_set;
	uint32_t ask_n;
	struct set *set;     /* of the workers */
	bool can_in, can_out, hup;
	pthread_mutex_t lock;
	sem_t done;
	uint8_t *buf_in, *buf_out;
	pthread_t thread[2];
	struct op now[2];    /* by direction: under way, for the record */
	_Atomic bool pending[2];
	_Atomic int running; /* bits: the thread of that direction may be sent signals */
};

/* gen.c */
struct rng { uint64_t s; };
uint64_t rng_next(struct rng *r);
struct rng rng_of(uint64_t a, uint64_t b, uint64_t c);
void gen_plan(int slot, uint32_t gen, struct plan *p);
struct op gen_op(const struct conn *c, int dir); /* counts */
void gen_bytes(const struct conn *c, int out, uint64_t at, uint8_t *to, size_t n);
bool kind_on(int kind);
const char *kind_name(int kind);
const char *mode_name(int mode);
int kind_by_name(const char *name);
int mode_by_name(const char *name);

/* script.c */
void script_load(const char *path);
bool script_active(void);
bool script_plan(int slot, uint32_t gen, struct plan *p);
bool script_op(const struct conn *c, int dir, uint32_t n, struct op *o);
void script_begin(struct conn *c, int dir, const struct op *o);
void script_note(struct conn *c, int dir, uint32_t n, const struct op *o, long result, int err);
void script_note_plan(int slot, uint32_t gen, const struct plan *p);
void script_flush(void);

/* side.c */
int side_main(enum role role);
void fail(const struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
void check_alive(void);
void doing(const struct conn *c, int dir, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
uint64_t mono_ns(void);
void sleep_us(uint64_t us);
struct conn *conn_at(int slot);

/* calls.c; dir and role are the caller's business */
enum step { STEP_MOVED, STEP_NONE, STEP_DONE };
enum step do_send(struct conn *c);
enum step do_recv(struct conn *c, bool told); /* told: a readiness report says that there is something */
void finish_out(struct conn *c);
int any_fd(const struct conn *c, int dir, uint32_t arg);
void check(const struct conn *c, const char *what, size_t asked, size_t n);
void came(struct conn *c, size_t n);

/* extra.c */
void extra_before(struct conn *c, int dir, const struct op *o);
bool extra_reads(struct conn *c, const struct op *o, bool *told); /* true: it has moved bytes */
void extra_eof(struct conn *c, uint32_t arg);
void set_nonblock(struct conn *c, bool on, uint32_t arg);

/* waits.c */
void run_conn(struct conn *c);

/* workers.c */
void workers_start(void);
void workers_run(struct conn *c);

/* noise.c */
void noise_start(void);
void signals_mask(const struct conn *c, sigset_t *set);
void signals_on(struct conn *c, int dir);
void signals_off(struct conn *c, int dir);

/* watch.c */
bool watch_run(const pid_t pid[2]);

/* counters.c */
void state_print(const pid_t pid[2]);
void counters_take(int when, const pid_t pid[2]); /* 0: before, 1: after */
bool counters_equal(void);                        /* nothing has been left over */
void counters_print(void);
void counters_list(const pid_t pid[2]);
void counters_stats(const pid_t pid[2]);          /* what the sides themselves say at their end */

/* shrink.c */
int shrink(void);

/* main.c */
bool launch(bool quiet); /* true: all was right */
void print_command(FILE *to);

#endif
