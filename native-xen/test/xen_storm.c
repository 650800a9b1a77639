/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xen_storm.c - a hostile peer: takes the event channels of a process of this VM and rings them without end.
 *
 * usage: xen_storm PID SECONDS
 * Prints how often it has rung.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hutong_xen.h"

#define MOST 64
#define PORTS 4096u

struct channel {
	int fd;
	uint32_t port;
};

/* The port is not told: all others of the device are refused. */
static uint32_t port_of(int fd)
{
	for (uint32_t port = 1; port < PORTS; port++)
		if (hutong_xen_event_ring(fd, port) == 0)
			return port;
	return 0;
}

static int channels(const char *pid, struct channel *out)
{
	char path[64], link[64];
	int process = (int)syscall(SYS_pidfd_open, atoi(pid), 0), n = 0;
	struct dirent *entry;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	d = opendir(path);
	while (d && n < MOST && (entry = readdir(d))) {
		ssize_t len = readlinkat(dirfd(d), entry->d_name, link, sizeof(link) - 1);

		if (len <= 0)
			continue;
		link[len] = '\0';
		if (strcmp(link, "/dev/xen/evtchn"))
			continue;
		out[n].fd = (int)syscall(SYS_pidfd_getfd, process, atoi(entry->d_name), 0);
		out[n].port = out[n].fd < 0 ? 0 : port_of(out[n].fd);
		n += out[n].port != 0;
	}
	if (d)
		closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	struct channel all[MOST];
	unsigned long rings = 0;
	time_t until;
	int n;

	if (argc != 3)
		return 2;
	n = channels(argv[1], all);
	until = time(NULL) + atoi(argv[2]);
	while (n && time(NULL) < until)
		for (int i = 0; i < n; i++)
			rings += hutong_xen_event_ring(all[i].fd, all[i].port) == 0;
	printf("channels=%d rings=%lu\n", n, rings);
	return !n;
}
