/* SPDX-License-Identifier: Apache-2.0 */
/* watch.c - waiting for a case's processes: their ends, those that hang, and those that are left over. */
#include "inside.h"

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool collect(struct watched w[2])
{
	bool any = false;
	int status;
	pid_t p;

	while ((p = waitpid(-1, &status, WNOHANG)) > 0) {
		any = true;
		for (int i = 0; i < 2; i++) {
			if (w[i].pid != p)
				continue;
			w[i].done = true;
			w[i].status = status;
		}
	}
	return any;
}

/* What a process that does not end is doing: its state, processor ticks and system call, of every thread. */
static void tell(pid_t pid)
{
	char command[200];

	fflush(stdout);
	snprintf(command, sizeof(command),
		 "cd /proc/%d/task 2>/dev/null && for t in *; do echo \"# hangs: %d/$t "
		 "$(sed 's/.*) //' $t/stat | cut -d' ' -f1,12,13) call $(cut -d' ' -f1 $t/syscall)\"; done",
		 pid, pid);
	unsetenv("LD_PRELOAD");
	if (system(command))
		return;
}

static bool alive(pid_t group)
{
	return kill(-group, 0) == 0;
}

void watch(const char *name, struct watched w[2], int seconds, int agent_fd, void (*serve_agent)(void))
{
	uint64_t deadline = now_ms() + (uint64_t)seconds * 1000, end = 0;
	bool hang = false, left = false;

	for (;;) {
		struct pollfd p = { agent_fd, POLLIN, 0 };

		collect(w);
		if (w[0].done && w[1].done) {
			/* Children may need a moment more than their parents. */
			end = end ? end : now_ms() + 2000;
			left = alive(w[0].pid) || alive(w[1].pid);
			if (!left || now_ms() > end)
				break;
		}
		if (now_ms() > deadline) {
			hang = true;
			break;
		}
		if (poll(&p, 1, 5) > 0)
			serve_agent();
	}
	for (int i = 0; i < 2; i++) {
		if (!w[i].done)
			tell(w[i].pid);
		kill(-w[i].pid, SIGKILL);
	}
	for (int i = 0; i < 200 && (!w[0].done || !w[1].done); i++) {
		collect(w);
		ms(5);
	}
	if (hang)
		printf("%s: HANG\n", name);
	else if (left)
		printf("%s: LEFT OVER\n", name);
	for (int i = 0; i < 2; i++) {
		if (WIFSIGNALED(w[i].status))
			printf("%s.%c.end: %s\n", name, 'a' + i, sigabbrev_np(WTERMSIG(w[i].status)));
		else if (WEXITSTATUS(w[i].status))
			printf("%s.%c.end: %d\n", name, 'a' + i, WEXITSTATUS(w[i].status));
	}
}
