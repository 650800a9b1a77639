/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.c - runs one case of the conformance suite and prints its traces.
 *
 * usage: conformance list                      one line a case: group, name, kind, flags, rules
 *        conformance run NAME ADDRESS PORT [swap]
 *
 * With CONF_RING in the environment the warm-up goes on until the bytes have left TCP; CONF_AGENT is the agent's command
 * line for the cases that stop and start it; CONF_SECONDS is how long a case may take.  Lines that begin with '#' are
 * for the runner and not part of the trace.
 */
#include <dirent.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "harness.h"
#include "inside.h"

#define KIDS 8

struct trace {
	_Atomic bool begun;
	_Atomic size_t used;
	char text[8000];
};

/* Shared, so that the trace of a process that was killed is not lost. */
static struct {
	struct trace of[2][KIDS + 1];
	_Atomic int kids[2];
	_Atomic int ring[2]; /* connections that came to the ring, and that did not */
} *shared;

static __thread struct trace *mine;
static __thread struct thr *my_thread;
static struct trace *of_side; /* for threads without a trace of their own */
static int ways[3][2];
int conf_listener = -1;
bool conf_is_a;

/* ---- the trace ---- */

void note(const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	if (my_thread) {
		n = vsnprintf(my_thread->text + my_thread->used, sizeof(my_thread->text) - my_thread->used, fmt, ap);
		if (n > 0 && my_thread->used + (size_t)n < sizeof(my_thread->text))
			my_thread->used += (size_t)n;
	} else {
		struct trace *t = mine ? mine : of_side;
		size_t used = t->used;

		n = vsnprintf(t->text + used, sizeof(t->text) - used, fmt, ap);
		if (n > 0 && used + (size_t)n < sizeof(t->text))
			t->used = used + (size_t)n;
	}
	va_end(ap);
}

void kid_is(int slot)
{
	my_thread = NULL;
	mine = &shared->of[!conf_is_a][slot];
	mine->begun = true;
}

pid_t kid(void)
{
	int slot = ++shared->kids[!conf_is_a];
	pid_t p;

	if (slot > KIDS)
		abort();
	p = fork();
	if (p == 0)
		kid_is(slot);
	return p;
}

/* ---- order ---- */

void must(bool ok, const char *what)
{
	if (ok)
		return;
	note(" BROKEN: %s: %s", what, strerrorname_np(errno));
	_exit(3);
}

void go(int whom)
{
	must(write(ways[whom][1], "x", 1) == 1, "go");
}

void await(int whom)
{
	char c;
	ssize_t n;

	do
		n = read(ways[whom][0], &c, 1);
	while (n < 0 && errno == EINTR);
	must(n == 1, "await");
}

/* ---- threads ---- */

static void *thr_main(void *arg)
{
	struct thr *t = arg;

	my_thread = t;
	t->tid = gettid();
	t->fn(t);
	return NULL;
}

void thr_start(struct thr *t, void (*fn)(struct thr *), int fd, int arg)
{
	*t = (struct thr){ .fn = fn, .fd = fd, .arg = arg };
	errno = pthread_create(&t->t, NULL, thr_main, t);
	must(errno == 0, "pthread_create");
}

void thr_asleep(struct thr *t)
{
	while (!t->tid)
		ms(1);
	until_asleep(t->tid);
}

void thr_join(struct thr *t)
{
	void *r = NULL;

	pthread_join(t->t, &r);
	note(" {%.*s%s }", (int)t->used, t->text, r == PTHREAD_CANCELED ? " cancelled" : "");
}

/* ---- running a case ---- */

static void side(const struct test_case *k, bool a, bool swap, int listener)
{
	int fd = -1;

	conf_is_a = a;
	mine = of_side = &shared->of[!a][0];
	mine->begun = true;
	setpgid(0, 0);
	signal(SIGPIPE, SIG_IGN);
	never = k->kind == NEVER;
	if (k->kind == RAW || k->kind == RAW_COLD || k->kind == NEVER) {
		fd = a ? listener : -1;
		if (!a)
			close(listener);
	} else {
		bool accepts = swap && !(k->flags & NOT_SWAPPED) ? !a : a;

		fd = accepts ? pick(listener) : dial();
		if (accepts && (k->flags & LISTENER))
			conf_listener = listener;
		else
			close(listener);
		if (k->kind == WARM)
			warm(fd, !a);
	}
	(a ? k->a : k->b)(fd);
	exit(0);
}

static pid_t agent_pid;
static int agent_says = -1;

static bool agent_line(void)
{
	struct pollfd p = { .fd = agent_says, .events = POLLIN };
	char c = 0;

	while (c != '\n' && poll(&p, 1, 10000) == 1 && read(agent_says, &c, 1) == 1)
		;
	return c == '\n';
}

/* The agent of a case that kills it: a child of ours without the shim.  Of two options of a kind the later one counts. */
static bool start_agent(const char *more)
{
	char command[1000], *argv[40] = { NULL };
	int out[2];

	snprintf(command, sizeof(command), "%s%s", getenv("CONF_AGENT") ? getenv("CONF_AGENT") : "", more);
	argv[0] = strtok(command, " ");
	for (size_t i = 0; argv[i] && i < 38; i++)
		argv[i + 1] = strtok(NULL, " ");
	if (agent_pid || !argv[0] || pipe2(out, O_CLOEXEC))
		return false;
	agent_pid = fork();
	if (agent_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		unsetenv("LD_PRELOAD");
		unsetenv("HUTONG_STATS");
		dup2(out[1], 1);
		dup2(open("/dev/null", O_WRONLY), 2); /* it tells of sockets that have gone meanwhile */
		execv(argv[0], argv);
		_exit(9);
	}
	close(out[1]);
	if (agent_says >= 0)
		close(agent_says);
	agent_says = out[0];
	return agent_line();
}

static bool kill_agent(void)
{
	if (agent_pid <= 0)
		return false;
	kill(agent_pid, SIGKILL);
	waitpid(agent_pid, NULL, 0);
	agent_pid = 0;
	return true;
}

/* By itself. */
static bool agent_has_ended(void)
{
	for (int i = 0; i < 5000; i++) {
		/* who waits for the programs may have reaped it */
		if (agent_pid > 0 && waitpid(agent_pid, NULL, WNOHANG)) {
			agent_pid = 0;
			return true;
		}
		ms(1);
	}
	return false;
}

/* What it holds: a channel's segment and bells, a registration's bell. */
static int agent_descriptors(void)
{
	char path[40];
	struct dirent *d;
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)agent_pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir)) != NULL)
		n += d->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static bool signal_agent(int sig)
{
	return agent_pid > 0 && kill(agent_pid, sig) == 0;
}

static bool with_agent(char what)
{
	static int marked;

	switch (what) {
	case 'k':
		return kill_agent();
	case 's':
		unsetenv("HUTONG_TEST_DIE_AT");
		return start_agent("");
	case 'l':
		return start_agent(" -m 3600000 -b 4000000000");
	case '1' ... '4':
		setenv("HUTONG_TEST_DIE_AT", (char[]){ what, 0 }, 1);
		return start_agent("");
	case 'e':
		return agent_has_ended();
	case 'p':
		return signal_agent(SIGSTOP);
	case 'g':
		return signal_agent(SIGCONT);
	case 'o':
		return signal_agent(SIGUSR2);
	case 'h':
		return signal_agent(SIGHUP) && agent_line();
	case 'm':
		return (marked = agent_descriptors()) > 0;
	default:
		return agent_descriptors() <= marked;
	}
}

static void serve_agent(void)
{
	char c;

	if (read(ask_agent[0], &c, 1) != 1)
		return;
	c = with_agent(c) ? '+' : '-';
	(void)!write(agent_answers[1], &c, 1);
}

static void print_traces(const struct test_case *k)
{
	for (int s = 0; s < 2; s++) {
		for (int i = 0; i <= KIDS; i++) {
			struct trace *t = &shared->of[s][i];

			if (!t->begun)
				continue;
			for (size_t n = 0; n < t->used; n++)
				if ((unsigned char)t->text[n] < ' ')
					t->text[n] = '~';
			if (i)
				printf("%s.%c%d:%s\n", k->name, 'a' + s, i, t->text);
			else
				printf("%s.%c:%s\n", k->name, 'a' + s, t->text);
		}
	}
	printf("#ring %d %d\n", shared->ring[0], shared->ring[1]);
}

/* Pipes at numbers that leave the low ones to the case, as a shell would. */
static void high_pipe(int p[2])
{
	int low[2];

	if (pipe(low))
		exit(6);
	for (int i = 0; i < 2; i++) {
		p[i] = fcntl(low[i], F_DUPFD, 500);
		close(low[i]);
	}
}

static void set_up(const struct test_case *k, int *listener)
{
	socklen_t len;
	struct sockaddr_storage ss = conf_address(&len);
	int one = 1;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*listener = socket(ss.ss_family, SOCK_STREAM, 0);
	setsockopt(*listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (shared == MAP_FAILED || bind(*listener, (struct sockaddr *)&ss, len) || listen(*listener, 64)) {
		perror("conformance");
		exit(6);
	}
	for (int i = 0; i < 3; i++)
		high_pipe(ways[i]);
	on_ring_count = shared->ring;
	high_pipe(ask_agent);
	high_pipe(agent_answers);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if ((k->flags & OWN_AGENT) && !start_agent(""))
		exit(6);
}

static int run_case(const struct test_case *k, bool swap)
{
	const char *seconds = getenv("CONF_SECONDS");
	struct watched w[2] = { { 0 } };
	int listener;

	set_up(k, &listener);
	for (int i = 0; i < 2; i++) {
		w[i].pid = fork();
		if (w[i].pid == 0)
			side(k, i == 0, swap, listener);
	}
	close(listener);
	watch(k->name, w, seconds ? atoi(seconds) : 12, ask_agent[0], serve_agent);
	kill_agent();
	print_traces(k);
	return 0;
}

static const char *kind_name(enum case_kind k)
{
	static const char *const names[] = { "warm", "young", "cold", "raw", "raw_cold", "never" };

	return names[k];
}

int main(int argc, char **argv)
{
	bool list = argc == 2 && !strcmp(argv[1], "list");

	if (!list && (argc < 5 || strcmp(argv[1], "run")))
		return 2;
	conf_where = list ? NULL : argv[3];
	conf_port = list ? 0 : atoi(argv[4]);
	for (const struct group *const *g = all_groups; *g; g++) {
		for (size_t i = 0; i < (*g)->n; i++) {
			const struct test_case *k = &(*g)->cases[i];

			if (list)
				printf("%s %s %s %u %s\n", (*g)->name, k->name, kind_name(k->kind), k->flags, k->rules);
			else if (!strcmp(k->name, argv[2]))
				return run_case(k, argc > 5 && !strcmp(argv[5], "swap"));
		}
	}
	return list ? 0 : 2;
}
