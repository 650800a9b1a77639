/* SPDX-License-Identifier: Apache-2.0 */
/* agent.c - cases in which the agent is killed, stays away and comes back (rules 3, 5 and 7). */
#include <linux/tcp.h>
#include <sys/resource.h>

#include "../far.h"
#include "harness.h"

static int echo(int fd, bool first, int rounds)
{
	int right = 0;

	for (int i = 0; i < rounds; i++) {
		char c = (char)i;

		if (first)
			right += send(fd, &c, 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1 && c == (char)i;
		else
			right += recv(fd, &c, 1, 0) == 1 && send(fd, &c, 1, MSG_NOSIGNAL) == 1;
		if (first)
			ms(1);
	}
	return right;
}

/* Killed while the channel stands: no byte needs the agent. */
static void a_agent_killed(int fd)
{
	note(" right=%d", echo(fd, false, 20));
	await(TO_A);
	note(" got=%zu", take(fd, 0, 3000000));
	note(" right=%d", echo(fd, false, 20));
	rd(fd, 10, 0);
	rd(fd, 10, 0);
}

static void b_agent_killed(int fd)
{
	note(" right=%d", echo(fd, true, 20));
	agent_kill();
	go(TO_A);
	note(" put=%zu", put(fd, 0, 3000000));
	agent_start();
	note(" right=%d", echo(fd, true, 20));
	wr(fd, "end");
	close(fd);
}

/* Killed while bytes wait in the ring, and the connection goes back to TCP without it. */
static void a_killed_then_stop(int fd)
{
	pid_t p;

	until_queued(fd, 30000);
	agent_kill();
	p = kid();
	if (p == 0) {
		note(" got=%zu", take(fd, 0, 10000));
		_exit(0);
	}
	go(TO_B);
	reap(p);
	note(" got=%zu", take(fd, 10000, 20000));
	wr(fd, "ok");
	agent_start();
	rd(fd, 3, MSG_WAITALL);
}

static void b_killed_then_stop(int fd)
{
	note(" put=%zu", put(fd, 0, 30000));
	await(TO_B);
	rd(fd, 2, MSG_WAITALL);
	wr(fd, "end");
	rd(fd, 1, 0);
}

/* Killed at every moment of young connections' lives, and started again. */
static void a_killed_young(int listener)
{
	int right = 0;

	for (int i = 0; i < 8; i++) {
		int fd = pick(listener);

		right += echo(fd, false, 60);
		right += recv(fd, &(char){ 0 }, 1, 0) == 0;
		close(fd);
	}
	note(" right=%d", right);
}

static void b_killed_young(int none)
{
	int right = 0;

	(void)none;
	for (int i = 0; i < 8; i++) {
		int fd = dial();

		right += echo(fd, true, 2 + i * 4);
		agent_kill();
		right += echo(fd, true, 20);
		agent_start();
		right += echo(fd, true, 60 - 22 - i * 4);
		close(fd);
	}
	note(" right=%d", right);
}

/* No agent at first: TCP works; when it comes, the same program's later connections move. */
static void a_agent_comes(int listener)
{
	int fd = pick(listener);

	note(" right=%d", echo(fd, false, 40));
	note(" got=%zu", take(fd, 0, 200000));
	go(TO_B);
	rd(fd, 1, 0);
	close(fd);
	fd = pick(listener);
	warm(fd, false);
	rd(fd, 3, MSG_WAITALL);
}

static void b_agent_comes(int none)
{
	int fd;

	(void)none;
	agent_kill();
	fd = dial();
	note(" right=%d", echo(fd, true, 40));
	note(" put=%zu", put(fd, 0, 200000));
	await(TO_B);
	close(fd);
	agent_start();
	ms(1200); /* a shim does not ask for an agent all the time */
	fd = dial();
	warm(fd, true);
	wr(fd, "end");
	rd(fd, 1, 0);
}

/* A program outlives its agents. The first connection after one's death may be what the shim learns of it by. */
static void a_next_agent(int listener)
{
	for (int i = 0; i < 2; i++) {
		int fd = pick(listener);

		echo(fd, false, 60);
		close(fd);
		fd = pick(listener);
		warm(fd, false);
		rd(fd, 3, MSG_WAITALL);
		rd(fd, 3, 0);
		close(fd);
	}
}

static void b_next_agent(int none)
{
	(void)none;
	for (int i = 0; i < 2; i++) {
		int fd = dial();

		note(" right=%d", echo(fd, true, 60));
		close(fd);
		ms(i ? 1200 : 0); /* a shim does not ask for an agent all the time */
		fd = dial();
		warm(fd, true);
		wr(fd, "end");
		agent_kill();
		agent_start();
		close(fd);
	}
}

/* When a connection is due is the agent's to say, also for a program's first one, which has asked it. */
static void a_late_agent(int listener)
{
	int fd = pick(listener);

	note(" right=%d", echo(fd, false, 100));
	rd(fd, 1, 0);
}

static void b_late_agent(int none)
{
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);
	int fd;

	(void)none;
	agent_kill();
	agent_start_late();
	fd = dial();
	note(" right=%d", echo(fd, true, 100));
	noted("info", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
	note(" by_tcp=%d", ti.tcpi_bytes_sent == 100);
}

#define MUCH 1500000 /* more than the reader's ring has room for: the rest is owed when it stops */

/*
 * Between hosts the agent sends what a stopped writer owes that makes no call, and dies when it has done so and has not
 * written it down, with the writer's lock in its hand.
 */
static void pays_and_reads(int fd)
{
	pid_t p;

	await(TO_A);
	until_queued(fd, 60000);
	p = kid();
	if (p == 0) {
		note(" got=%zu", take(fd, 0, MUCH));
		rd(fd, 3, MSG_WAITALL);
		wr(fd, "ok");
		_exit(0);
	}
	reap(p);
}

static void owes_and_goes_on(int fd)
{
	note(" put=%zu", put(fd, 0, MUCH));
	go(TO_A);
	agent_ends();
	wr(fd, "end");
	rd(fd, 2, MSG_WAITALL);
}

static void a_payer_dies(int listener)
{
	int fd = pick(listener);

	warm(fd, false);
	pays_and_reads(fd);
}

static void b_payer_dies_at(int where)
{
	int fd;

	agent_kill();
	agent_start_dying(where);
	fd = dial();
	warm(fd, true);
	owes_and_goes_on(fd);
}

static void b_payer_dies(int none)
{
	(void)none;
	b_payer_dies_at(FAR_DIE_SENDING);
}

static void a_payer_dies_counting(int listener)
{
	a_payer_dies(listener);
}

static void b_payer_dies_counting(int none)
{
	(void)none;
	b_payer_dies_at(FAR_DIE_COUNTING);
}

static void a_payer_dies_accepting(int listener)
{
	a_payer_dies(listener);
}

static void b_payer_dies_accepting(int none)
{
	(void)none;
	b_payer_dies_at(FAR_DIE_ACCEPTING);
}

/* The same, with a message of the agent's unread, about another connection. */
static void a_payer_unheard(int listener)
{
	int fd = pick(listener), other;

	warm(fd, false);
	other = pick(listener);
	rd(other, 2001, MSG_WAITALL);
	pays_and_reads(fd);
}

static void b_payer_unheard(int none)
{
	static const char two[2001];
	int fd, other;

	(void)none;
	agent_kill();
	agent_start_dying(FAR_DIE_SENDING);
	fd = dial();
	warm(fd, true);
	other = dial();
	note(" n=%zd", send(other, two, 2000, 0));
	ms(200);
	note(" n=%zd", send(other, two, 1, 0));
	ms(100);
	owes_and_goes_on(fd);
}

/* A new agent has come when the program finds the dead one's lock. */
static void a_payer_replaced(int listener)
{
	a_payer_dies(listener);
}

static void b_payer_replaced(int none)
{
	int fd;

	(void)none;
	agent_kill();
	agent_start_dying(FAR_DIE_SENDING);
	fd = dial();
	warm(fd, true);
	note(" put=%zu", put(fd, 0, MUCH));
	go(TO_A);
	if (agent_ends())
		agent_start();
	wr(fd, "end");
	rd(fd, 2, MSG_WAITALL);
}

/*
 * Between hosts: an agent that cannot go on with its lines, after an upgrade.  What has gone back to TCP before that stays
 * there, whole, also for who sleeps meanwhile; see operations.md.
 */
static void off_and_lost(int fd, bool first)
{
	warm(fd, first);
	if (first)
		agent_switch();
	note(" right=%d", echo(fd, first, 40));
}

static void to_the_end(int fd, bool first)
{
	size_t n = 300000;

	note(" n=%zu", first ? put(fd, 0, n) : take(fd, 0, n));
	note(" n=%zu", first ? take(fd, 0, n) : put(fd, 0, n));
	note(" right=%d", echo(fd, first, 20));
	noted("shut", shutdown(fd, SHUT_WR));
	rd(fd, 1, 0);
	close(fd);
}

static void a_lost_off(int listener)
{
	int fd = pick(listener);

	off_and_lost(fd, false);
	rd(fd, 2, MSG_WAITALL); /* asleep */
	to_the_end(fd, false);
}

static void b_lost_off(int none)
{
	int fd = dial();

	(void)none;
	off_and_lost(fd, true);
	agent_loses();
	ms(20);
	wr(fd, "up");
	to_the_end(fd, true);
}

static void a_lost_off_sets(int listener)
{
	int fd = pick(listener), ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLET | EPOLLRDHUP, 1);
	off_and_lost(fd, false);
	while (epoll_wait(ep, &(struct epoll_event){ 0 }, 1, 0) == 1)
		;
	go(TO_B);
	ew(ep, 5000);
	rd(fd, 2, MSG_WAITALL);
	to_the_end(fd, false);
}

static void b_lost_off_sets(int none)
{
	int fd = dial();

	(void)none;
	off_and_lost(fd, true);
	await(TO_B);
	agent_loses();
	pl(fd, POLLIN | POLLRDHUP, 50);
	wr(fd, "up");
	to_the_end(fd, true);
}

/* Calls for a while, in which what the agents agree on is done. */
static void look_on(int fd, short events)
{
	for (int i = 0; i < 60; i++) {
		poll(&(struct pollfd){ .fd = fd, .events = events }, 1, 0);
		ms(1);
	}
}

/* Its reader has not come to what was left in its ring. */
static void a_lost_unread(int listener)
{
	int fd = pick(listener);

	warm(fd, false);
	until_queued(fd, 30000);
	go(TO_B);
	look_on(fd, POLLOUT);
	go(TO_B);
	await(TO_A);
	note(" n=%zu", take(fd, 0, 30000));
	rd(fd, 2, MSG_WAITALL);
	to_the_end(fd, false);
}

static void b_lost_unread(int none)
{
	int fd = dial();

	(void)none;
	warm(fd, true);
	note(" put=%zu", put(fd, 0, 30000));
	await(TO_B);
	agent_switch();
	look_on(fd, POLLIN);
	await(TO_B);
	agent_loses();
	go(TO_A);
	wr(fd, "up");
	to_the_end(fd, true);
}

/* What has not is an error to both, and no end. */
static void a_lost_on(int listener)
{
	bool far = getenv("CONF_FAR");
	int fd = pick(listener);
	size_t got = 0;
	char buf[4000];
	ssize_t n;

	warm(fd, false);
	await(TO_A);
	for (; (n = recv(fd, buf, sizeof(buf), 0)) > 0; got += (size_t)n)
		if (!same(buf, got, (size_t)n))
			note(" wrong");
	note(" right=%d", far ? n < 0 && errno == ECONNRESET : n == 0 && got == 30000);
}

static void b_lost_on(int none)
{
	int fd = dial();
	char c;

	(void)none;
	warm(fd, true);
	note(" put=%zu", put(fd, 0, 30000));
	bool right = !agent_loses() || (recv(fd, &c, 1, 0) < 0 && errno == ECONNRESET);

	note(" right=%d", right);
	go(TO_A);
	close(fd);
}

/* An agent that dies when it has told both of their channel, before they look: nobody would carry anything between hosts. */
static void a_killed_unheard(int listener)
{
	int fd = pick(listener);

	note(" right=%d", echo(fd, false, 100));
	warm(pick(listener), false); /* a session with the next agent */
	to_the_end(fd, false);
}

static void b_killed_unheard(int none)
{
	int fd;

	(void)none;
	agent_kill();
	agent_start_dying(FAR_DIE_GIVING);
	fd = dial();
	note(" right=%d", echo(fd, true, 100));
	if (agent_ends())
		agent_start();
	ms(600); /* the shim does not look for an agent all the time */
	warm(dial(), true);
	to_the_end(fd, true);
}

#define CROWD 400

/*
 * More connections end than the agent's queue has room for while it does not read: it hears of all of them in the end,
 * and keeps nothing of any.
 */
static void crowd(int (*get)(int), int listener, bool first)
{
	static int fd[CROWD];
	struct rlimit lim;

	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max; /* those that cannot have a doorbell would stay on TCP */
	setrlimit(RLIMIT_NOFILE, &lim);
	for (int i = 0; i < CROWD; i++)
		fd[i] = get(listener);
	for (int i = 0; i < CROWD; i++)
		warm(fd[i], first);
	if (first) {
		await(TO_B);
		agent_pause();
		go(TO_A);
	} else {
		go(TO_B);
		await(TO_A);
	}
	for (int i = 0; i < CROWD; i++)
		close(fd[i]);
}

static int dial_any(int none)
{
	(void)none;
	return dial();
}

static void a_paused_closes(int listener)
{
	int stays = pick(listener), fd;

	warm(stays, false);
	crowd(pick, listener, false);
	go(TO_B);
	fd = pick(listener);
	warm(fd, false);
	rd(fd, 1, 0);
	close(fd);
	go(TO_B);
	rd(stays, 1, 0);
}

static void b_paused_closes(int none)
{
	bool clean = false;
	int stays = dial(), fd;

	warm(stays, true); /* it stands for the two sessions, too */
	agent_mark();
	crowd(dial_any, none, true);
	await(TO_B);
	agent_go_on();
	fd = dial();
	warm(fd, true);
	close(fd);
	await(TO_B);
	for (int i = 0; i < 200 && !(clean = agent_as_marked()); i++)
		ms(10);
	note(" clean=%d", clean);
	close(stays);
}

static const struct test_case cases[] = {
	CASE_F(agent_killed, "3,7", WARM, OWN_AGENT | SLOW | NOT_FAR),
	CASE_F(killed_then_stop, "3,7", WARM, OWN_AGENT | NOT_FAR),
	CASE_F(killed_young, "3,5", RAW_COLD, OWN_AGENT | NOT_FAR),
	CASE_F(killed_unheard, "3,5", RAW, OWN_AGENT),
	CASE_F(agent_comes, "3,6", RAW, OWN_AGENT),
	CASE_F(late_agent, "6", RAW_COLD, OWN_AGENT),
	CASE_F(payer_dies, "3,7", RAW, OWN_AGENT),
	CASE_F(payer_dies_counting, "3,7", RAW, OWN_AGENT),
	CASE_F(payer_dies_accepting, "3,7", RAW, OWN_AGENT),
	CASE_F(payer_unheard, "3,7", RAW, OWN_AGENT),
	CASE_F(payer_replaced, "3,7", RAW, OWN_AGENT),
	CASE_F(lost_off, "3,7", RAW, OWN_AGENT),
	CASE_F(lost_off_sets, "3,7,12", RAW, OWN_AGENT),
	CASE_F(lost_unread, "3,7", RAW, OWN_AGENT),
	CASE_F(lost_on, "3,7", RAW, OWN_AGENT),
	CASE_F(paused_closes, "3,16", RAW, OWN_AGENT | SLOW),
	CASE_F(next_agent, "3,5", RAW, OWN_AGENT | NOT_FAR),
};
GROUP(agent);
