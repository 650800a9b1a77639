/* SPDX-License-Identifier: Apache-2.0 */
/* noise.c - what else happens in a program: signals, with and without SA_RESTART, and children. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random.h"

extern char **environ;

static _Atomic int handled;

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&handled, 1);
}

static void child(struct rng *r)
{
	char *const argv[] = { (char *)"true", NULL };
	int status, how = (int)(rng_next(r) % 5);
	pid_t p;

	if (how == 4) {
		if (posix_spawn(&p, "/bin/true", NULL, NULL, argv, environ))
			fail(NULL, "posix_spawn: %s", strerror(errno));
	} else if (how == 3) {
		p = vfork();
		if (p == 0) {
			execv("/bin/true", argv);
			_exit(1);
		}
	} else {
		p = fork();
		if (p == 0) {
			if (how == 0)
				_exit(0);
			if (how == 1)
				exit(0);
			execv("/bin/true", argv);
			_exit(1);
		}
	}
	if (p < 0)
		fail(NULL, "fork: %s", strerror(errno));
	while (waitpid(p, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail(NULL, "a child of kind %d ended with status %x", how, (unsigned int)status);
	atomic_fetch_add(&sh->forks[my_role], 1);
}

/* Signals are for threads that want them, and blocked in all others. */
void signals_mask(const struct conn *c, sigset_t *set)
{
	sigemptyset(set);
	if (c && c->plan.signals)
		return;
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGUSR2);
}

void signals_on(struct conn *c, int dir)
{
	sigset_t set;

	if (!c->plan.signals)
		return;
	signals_mask(NULL, &set);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	atomic_fetch_or(&c->running, dir);
}

void signals_off(struct conn *c, int dir)
{
	sigset_t set;

	if (!c->plan.signals)
		return;
	atomic_fetch_and(&c->running, ~dir);
	signals_mask(NULL, &set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void signal_someone(struct rng *r)
{
	struct conn *c = conn_at((int)(rng_next(r) % (uint64_t)opt->conns));
	int dirs = atomic_load(&c->running), dir = rng_next(r) & 1 ? IN : OUT;

	/* The thread of a slot lives as long as the process; a second one might be over by now. */
	if (!(dirs & IN) || dir != IN)
		return;
	pthread_kill(c->thread[0], rng_next(r) & 1 ? SIGUSR1 : SIGUSR2);
	atomic_fetch_add(&sh->signals[my_role], 1);
}

static void *noise(void *arg)
{
	struct rng r = rng_of(9, my_role, 0);

	(void)arg;
	for (;;) {
		check_alive();
		if (atomic_load(&sh->phase) != RUN) {
			sleep_us(10000);
			continue;
		}
		sleep_us(rng_next(&r) % 10000);
		if (opt->signals)
			signal_someone(&r);
		if (opt->forks && rng_next(&r) % 20 == 0)
			child(&r);
	}
	return NULL;
}

void noise_start(void)
{
	struct sigaction restart = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, plain = { .sa_handler = on_signal };
	pthread_t t;

	sigaction(SIGUSR1, &restart, NULL);
	sigaction(SIGUSR2, &plain, NULL);
	if (!opt->signals && !opt->forks)
		return;
	if (pthread_create(&t, NULL, noise, NULL))
		fail(NULL, "no thread");
}
