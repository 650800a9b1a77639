/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.c - which handlers interrupt (rule 14).
 *
 * Our sleeps are polls, and poll tells of every signal, while recv and send go on by themselves after a handler that was
 * installed with SA_RESTART.  So a sleeper must know what kind of handler has run in its thread.  Handlers without
 * SA_RESTART, which are few, are called through a function that leaves a mark; all others are installed as they are, and
 * sigaction() tells of the program's own handler in any case.
 */
#include <string.h>

#include "real.h"

typedef void (*plain_handler)(int);
typedef void (*info_handler)(int, siginfo_t *, void *);

#define SIGNALS 65

static struct {
	_Atomic(info_handler) call; /* the program's; called with three arguments, which does no harm to one that takes one */
	_Atomic int flags;          /* the program's */
} marked[SIGNALS];

static __thread volatile bool interrupted __attribute__((tls_model("initial-exec")));
static __thread volatile int wake_fd __attribute__((tls_model("initial-exec"))) = -1;

static void mark(int sig, siginfo_t *info, void *context)
{
	info_handler call = atomic_load(&marked[sig].call);
	int bell = wake_fd;

	wake_fd = -1; /* the handler may leave by a jump, and the number be another's when the next signal comes */
	if (call)
		call(sig, info, context);
	interrupted = true; /* last, since the handler may have waited itself */
	if (bell >= 0)
		bell_ring(bell);
}

/* A call begins that may sleep: what comes from now on interrupts it, also while it is awake. */
void signals_clear(void)
{
	interrupted = false;
}

/*
 * Between this and signals_woke() the thread sleeps, and `bell`, if it has one, is among what can end the sleep: a handler
 * that runs just before the sleep ends it by the bell.  False: one has run already.
 */
bool signals_sleep(int bell)
{
	wake_fd = bell;
	atomic_signal_fence(memory_order_seq_cst);
	if (LIKELY(!interrupted))
		return true;
	wake_fd = -1;
	return false;
}

void signals_woke(void)
{
	wake_fd = -1;
}

bool signals_interrupted(void)
{
	return interrupted;
}

/*
 * Faults come from the thread's own instructions, never in the middle of a wait; and the JVM is particular about them.
 * SIGABRT comes from others as well: a service manager whose watchdog was not fed sends it.
 */
static bool is_fault(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP || sig == SIGSYS;
}

HUT_EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction ours, was;
	info_handler before;
	int flags_before, rc;

	if (sig <= 0 || sig >= SIGNALS)
		return REAL(sigaction)(sig, act, old);
	before = atomic_load(&marked[sig].call);
	flags_before = atomic_load(&marked[sig].flags);
	if (act && act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN && !(act->sa_flags & SA_RESTART) &&
	    !is_fault(sig)) {
		ours = *act;
		ours.sa_sigaction = mark;
		ours.sa_flags |= SA_SIGINFO;
		/* First what is called, so that a signal in between finds one of the two. */
		atomic_store(&marked[sig].call, act->sa_sigaction);
		atomic_store(&marked[sig].flags, act->sa_flags);
		rc = REAL(sigaction)(sig, &ours, &was);
		if (rc) {
			atomic_store(&marked[sig].call, before);
			atomic_store(&marked[sig].flags, flags_before);
		}
	} else {
		rc = REAL(sigaction)(sig, act, &was);
	}
	if (rc || !old)
		return rc;
	*old = was;
	if ((was.sa_flags & SA_SIGINFO) && was.sa_sigaction == mark) {
		old->sa_sigaction = before;
		old->sa_flags = (was.sa_flags & ~SA_SIGINFO) | (flags_before & SA_SIGINFO);
	}
	return 0;
}

HUT_EXPORT int __sigaction(int sig, const struct sigaction *act, struct sigaction *old) __THROW __attribute__((alias("sigaction")));

/* ---- the older calls, which libc builds on its own sigaction() without asking us ---- */

static _Atomic uint64_t interrupting; /* siginterrupt(sig, 1), a bit a signal */

static plain_handler install(int sig, plain_handler handler, int flags, bool mask_itself)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags }, old;

	sigemptyset(&act.sa_mask);
	if (mask_itself)
		sigaddset(&act.sa_mask, sig);
	if (sig <= 0 || sig >= SIGNALS || handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	return sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

HUT_EXPORT plain_handler signal(int sig, plain_handler handler)
{
	bool interrupts = sig > 0 && sig < SIGNALS && (atomic_load(&interrupting) >> (sig - 1) & 1);

	return install(sig, handler, interrupts ? 0 : SA_RESTART, true);
}

HUT_EXPORT plain_handler bsd_signal(int sig, plain_handler handler)
{
	return signal(sig, handler);
}

HUT_EXPORT plain_handler ssignal(int sig, plain_handler handler)
{
	return signal(sig, handler);
}

HUT_EXPORT plain_handler sysv_signal(int sig, plain_handler handler)
{
	return install(sig, handler, (int)SA_RESETHAND | SA_NODEFER, false);
}

HUT_EXPORT plain_handler __sysv_signal(int sig, plain_handler handler)
{
	return sysv_signal(sig, handler);
}

HUT_EXPORT plain_handler sigset(int sig, plain_handler handler)
{
	struct sigaction old;
	sigset_t one, before;
	bool held;

	sigemptyset(&one);
	if (sigaddset(&one, sig) || handler == SIG_ERR)
		return SIG_ERR;
	if (sigprocmask(handler == SIG_HOLD ? SIG_BLOCK : SIG_UNBLOCK, &one, &before))
		return SIG_ERR;
	held = sigismember(&before, sig) == 1;
	if (sigaction(sig, NULL, &old))
		return SIG_ERR;
	if (handler != SIG_HOLD && install(sig, handler, 0, false) == SIG_ERR)
		return SIG_ERR;
	return held ? SIG_HOLD : old.sa_handler;
}

HUT_EXPORT int siginterrupt(int sig, int interrupt)
{
	struct sigaction act;

	if (sigaction(sig, NULL, &act))
		return -1;
	if (interrupt) {
		atomic_fetch_or(&interrupting, 1ull << (sig - 1));
		act.sa_flags &= ~SA_RESTART;
	} else {
		atomic_fetch_and(&interrupting, ~(1ull << (sig - 1)));
		act.sa_flags |= SA_RESTART;
	}
	return sigaction(sig, &act, NULL);
}
