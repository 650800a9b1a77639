/* SPDX-License-Identifier: Apache-2.0 */
/*
 * far.c - both agents of a connection between hosts, and the wire and the link between them; see docs/protocol.md, Lines.
 *
 * Each half is one agent's end of a line, in the words of the real one: `outgoing` is what its program sends, `incoming`
 * what it receives.  The halves tell each other all of their state by messages, which stay in order but come late; what
 * the wire carries comes late too, by itself; and TCP, which is loopback, is always before both.  All delays are random,
 * from a seed, so that a FIN overtakes data and a STOP crosses an END all the time.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include "farline.h"

struct line {
	struct line *next;
	struct far_half half[2];
};

#define WISHES 5 /* how often one end changes its mind; odd: at last it wishes */

bool far_on;
uint64_t far_now;
uint32_t far_ring_size, far_over_size;
int far_die_at;
static uint64_t delay_ns, leave_ns, wish_ns, random_state;
static int epoll_fd;
static struct line *lines;

uint64_t far_draw(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state >> 8;
}

/* At once, or a while later, or now and then much later. */
uint64_t far_later(void)
{
	uint64_t x = far_draw();

	if (!delay_ns || x % 4 == 0)
		return far_now;
	return far_now + (x / 64) % delay_ns * (x % 64 < 4 ? 8 : 1);
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* What no shim may do; the runner looks for it. */
void far_hostile(const struct far_half *h, const char *what, uint64_t a, uint64_t b)
{
	fprintf(stderr, "far: hostile: %s: %llu, %llu (round %u out, %u in)\n", what, (unsigned long long)a,
		(unsigned long long)b, h->out.round, h->in.round);
}

static void look(struct far_half *h)
{
	in_look(h);
	out_look(h);
	if (!h->out.ended && h->retry_at == NEVER && (h->leaving || (h->out.marks & HUT_MARK_SHUT)))
		h->retry_at = far_now + h->retry_ns;
}

static bool over(const struct far_half *h)
{
	return h->gone && (h->out.delivered || (h->out.ended && h->peer_gone));
}

static void post(struct far_half *h, struct message m)
{
	struct far_half *to = h->other;
	struct message *copied = malloc(sizeof(m));

	if (!copied)
		abort();
	*copied = m;
	copied->next = NULL;
	copied->due = far_later();
	if (copied->due < to->last_due)
		copied->due = to->last_due; /* the link keeps the order */
	to->last_due = copied->due;
	*to->inbox_end = copied;
	to->inbox_end = &copied->next;
}

static void tell(struct far_half *h)
{
	struct incoming *i = &h->in;
	struct outgoing *o = &h->out;
	struct message m = {
		.bye = over(h), .closed = h->closed_due,
		.r = { i->round, i->opened, i->stopped, i->marks, i->stopped_at, i->announced ? in_consumed(h) : 0, i->ask,
		       i->told },
		.s = { o->started, o->marks, o->leave, o->agreed, o->done, o->start, o->end, o->ended,
		       !o->ended && h->wishes },
	};

	h->changed = h->closed_due = false;
	post(h, m);
}

static void check_socket(struct far_half *h)
{
	enum holding socket = far_holding(h);

	h->retry_at = NEVER;
	if (socket != OPEN)
		out_check_end(h);
	if (h->leaving && socket == GONE && !h->gone) {
		h->gone = h->in.gone = true;
		h->sign_at = far_now;
		in_look(h);
	}
	if (!h->out.ended || (h->leaving && !h->gone)) {
		h->retry_ns = h->retry_ns * 2 < LONGEST_RETRY_NS ? h->retry_ns * 2 : LONGEST_RETRY_NS;
		h->retry_at = far_now + h->retry_ns;
	}
}

/*
 * After a FIN: is the end overdue?  Not while word of the other half is under way: it may be late since this agent, which
 * is both, has not run for as long.
 */
static void in_on_time(struct far_half *h)
{
	struct incoming *i = &h->in;

	if (h->removed || h->inbox || !i->ask || i->told || far_now - i->asked_at < END_PATIENCE_NS)
		return;
	if (i->phase != IN_TCP && i->tail == i->asked_tail && !(i->announced && in_consumed(h) < i->tail)) {
		in_cut(h);
	} else {
		i->asked_tail = i->tail;
		i->asked_at = far_now;
	}
}

/* The other half knows nothing of the line any more. */
static void on_bye(struct far_half *h)
{
	struct incoming *i = &h->in;

	h->peer_gone = true;
	/* Also when its last word is lost: a writer that nobody reads any more must not wait for room. */
	add_marks(h, &tx(h)->cons_mark, HUT_MARK_GONE);
	look(h);
	if (!i->told && i->phase != IN_TCP && (i->phase != IN_ARMED || i->ask))
		in_cut(h);
}

static void on_message(struct far_half *h, const struct message *m)
{
	if (h->removed) {
		if (!m->bye)
			post(h, (struct message){ .bye = true });
		return;
	}
	h->sign_at = far_now;
	if (m->closed && h->end) { /* its registration is over: a hint (EndPool.peerGone) */
		STORE(&h->end->agent_gone, 1);
		ring(h);
	}
	if (m->bye) {
		on_bye(h);
		return;
	}
	look(h);
	out_on_peer(h, &m->r);
	in_on_peer(h, &m->s);
	look(h);
}

static void take_message(struct far_half *h)
{
	struct message *m = h->inbox;

	h->inbox = m->next;
	if (!h->inbox)
		h->inbox_end = &h->inbox;
	on_message(h, m);
	free(m);
}

void far_gone(struct far_half *h)
{
	far_now = clock_ns();
	h->end = NULL;
	h->leaving = true;
	h->closed_due = h->changed = true;
	h->sign_at = far_now;
	look(h);
	check_socket(h);
}

bool far_on_tcp(void)
{
	for (const struct line *l = lines; l; l = l->next)
		for (int i = 0; i < 2; i++)
			if (l->half[i].out.phase != OUT_TCP || l->half[i].in.phase != IN_TCP)
				return false;
	return true;
}

/* As Survivors does it: the program is told, and the other agent when it speaks of the line, or before. */
static void lose(struct far_half *h)
{
	if (h->removed || !h->end)
		return;
	STORE(&h->end->agent_stop, HUT_R_POISONED);
	ring(h);
	h->end = NULL;
	h->out.flow = h->out.routed = h->in.flow = h->in.routed = false;
	h->removed = h->lost = true;
	post(h, (struct message){ .bye = true });
}

void far_lose(void)
{
	far_now = clock_ns();
	for (struct line *l = lines; l; l = l->next) {
		unsigned int which = 1 + far_draw() % 3;

		if (which & 1)
			lose(&l->half[0]);
		if (which & 2)
			lose(&l->half[1]);
	}
}

bool far_is_lost(const struct far_half *h)
{
	return h->lost;
}

static bool finished(const struct far_half *h)
{
	return !h->changed && (over(h) || (h->gone && far_now - h->sign_at >= LINGER_NS));
}

/* Everything of a half that is due. */
static void step(struct far_half *h)
{
	while (h->inbox && h->inbox->due <= far_now)
		take_message(h);
	if (h->removed)
		return;
	if (h->look_at <= far_now) {
		h->look_at = NEVER;
		look(h);
	}
	if (h->leave_at <= far_now) {
		h->leave_at = far_now + far_draw() % (2 * leave_ns);
		out_leave_wire(h);
	}
	if (h->wish_at <= far_now) {
		/* Not for ever: each change rings, and a program that rests is to be left alone. */
		h->wish_at = ++h->changes < WISHES ? far_now + far_draw() % (2 * wish_ns) : NEVER;
		h->wishes = !h->wishes;
		h->changed = true;
	}
	if (h->out.carry_due <= far_now)
		carry(h);
	if (h->in.ack_due <= far_now)
		acknowledge(h);
	if (h->retry_at <= far_now)
		check_socket(h);
	if (h->out.pay_at <= far_now)
		out_pay(h);
	in_acknowledge(h, false);
}

static void produce(struct far_half *h)
{
	if (h->removed)
		return;
	if (h->out.started == h->out.round && out_is_started(&h->out))
		out_see_tail(h);
	out_produce(h);
	if (h->changed)
		tell(h);
	if (h->rang) {
		h->rang = false;
		ring(h);
	}
	if (finished(h))
		h->removed = true;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t half_due(const struct far_half *h)
{
	uint64_t due = h->inbox ? h->inbox->due : NEVER;

	if (h->removed)
		return due;
	if (h->changed || h->rang)
		return 0;
	due = earlier(due, earlier(h->look_at, earlier(h->retry_at, h->out.pay_at)));
	due = earlier(due, earlier(h->wish_at, h->leave_at));
	due = earlier(due, earlier(h->out.carry_due, h->in.ack_due));
	if (h->in.ask && !h->in.told)
		due = earlier(due, h->in.asked_at + END_PATIENCE_NS);
	return h->gone ? earlier(due, h->sign_at + LINGER_NS) : due;
}

uint64_t far_due_ns(void)
{
	uint64_t due = NEVER;

	for (const struct line *l = lines; l; l = l->next)
		due = earlier(due, earlier(half_due(&l->half[0]), half_due(&l->half[1])));
	return due;
}

static void free_half(struct far_half *h)
{
	while (h->inbox) {
		struct message *m = h->inbox;

		h->inbox = m->next;
		free(m);
	}
	munmap(h->segment, HUT_PAGE + 2ull * far_ring_size + 2ull * far_over_size);
	close(h->bell);
	/* The program has copies of it: closing ours does not take it out of the set. */
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, h->kick, NULL);
	close(h->kick);
}

static void hear_bells(void)
{
	struct epoll_event ev[64];
	int n = epoll_wait(epoll_fd, ev, 64, 0);

	for (int i = 0; i < n; i++) {
		struct far_half *h = ev[i].data.ptr;
		uint64_t count;

		if (read(h->kick, &count, sizeof(count)) == sizeof(count))
			h->look_at = earlier(h->look_at, far_later());
	}
}

void far_run(void)
{
	far_now = clock_ns();
	hear_bells();
	for (struct line **at = &lines; *at;) {
		struct line *l = *at;

		step(&l->half[0]);
		step(&l->half[1]);
		produce(&l->half[0]);
		produce(&l->half[1]);
		in_on_time(&l->half[0]);
		in_on_time(&l->half[1]);
		if (l->half[0].removed && l->half[1].removed) {
			*at = l->next;
			free_half(&l->half[0]);
			free_half(&l->half[1]);
			free(l);
		} else {
			at = &l->next;
		}
	}
}

void far_print(void)
{
	for (const struct line *l = lines; l; l = l->next) {
		fprintf(stderr, "line\n");
		far_print_half(&l->half[0]);
		far_print_half(&l->half[1]);
	}
}

int far_fd(void)
{
	return epoll_fd;
}

void far_init(const char *option, uint32_t ring, uint32_t over)
{
	char *rest;

	far_on = true;
	far_ring_size = ring;
	far_over_size = over;
	delay_ns = strtoull(option, &rest, 0) * 1000;
	random_state = (*rest == ',' ? strtoull(rest + 1, &rest, 0) : 1) * 0x9e3779b97f4a7c15ull | 1;
	leave_ns = *rest == ',' ? strtoull(rest + 1, &rest, 0) * 1000 : 0;
	wish_ns = *rest == ',' ? strtoull(rest + 1, NULL, 0) * 1000 : 0;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	far_die_at = atoi(getenv("HUTONG_TEST_DIE_AT") ? getenv("HUTONG_TEST_DIE_AT") : "0");
	far_socket_init();
	if (epoll_fd < 0) {
		perror("far");
		exit(1);
	}
}

static int begin_half(struct far_half *h, const struct far_program *p)
{
	size_t len = HUT_PAGE + 2ull * far_ring_size + 2ull * far_over_size;
	int fd = memfd_create("hutong-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = h };

	h->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->bell = fcntl(p->bell, F_DUPFD_CLOEXEC, 3);
	if (fd < 0 || ftruncate(fd, (off_t)len) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ||
	    h->kick < 0 || h->bell < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, h->kick, &ev)) {
		perror("far: segment");
		exit(1);
	}
	h->segment = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (h->segment == MAP_FAILED)
		abort();
	h->segment->magic = HUT_SEG_MAGIC;
	h->segment->version = HUT_ABI_VERSION;
	h->segment->ring_size = far_ring_size;
	h->segment->over_size = far_over_size;
	h->segment->dir[0].split = h->segment->dir[1].split = HUT_NO_SPLIT;
	h->end = p->end;
	h->cookie = p->cookie;
	memcpy(h->local, p->local, 18);
	memcpy(h->remote, p->remote, 18);
	h->out.end = NO_END;
	h->out.limit = h->out.carry_due = h->out.pay_at = h->in.ack_due = NEVER;
	h->look_at = far_now;
	h->retry_at = NEVER;
	h->retry_ns = RETRY_NS;
	h->leave_at = leave_ns ? far_now + far_draw() % (2 * leave_ns) : NEVER;
	h->wishes = !wish_ns;
	h->wish_at = wish_ns ? far_now + far_draw() % (2 * wish_ns) : NEVER;
	h->inbox_end = &h->inbox;
	h->changed = true;
	return fd;
}

void far_connect(const struct far_program program[2], struct far_channel channel[2])
{
	struct line *l = calloc(1, sizeof(*l));

	if (!l)
		abort();
	far_now = clock_ns();
	for (int i = 0; i < 2; i++) {
		l->half[i].other = &l->half[1 - i];
		channel[i].half = &l->half[i];
		channel[i].segment = begin_half(&l->half[i], &program[i]);
		channel[i].bell = l->half[i].kick;
	}
	l->next = lines;
	lines = l;
}
