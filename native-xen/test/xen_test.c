/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xen_test.c - the facade's contract.  Without Xen: bad arguments, and "not available" with nothing left open.  In a VM
 * on Xen (`xen_test loop`): pages granted to the own domain, mapped and written through both mappings, and an event
 * channel to itself.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hutong_xen.h"

#define PAGES 3u
#define PAGE 4096u

static int passed, failed;

static void expect(bool ok, const char *what)
{
	if (ok) {
		passed++;
	} else {
		failed++;
		printf("not so: %s (errno %d)\n", what, errno);
	}
}

static int open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void bad_arguments(void)
{
	uint32_t refs[1] = { 0 }, port;

	expect(hutong_xen_grant(1, 0, refs) == -EINVAL, "no pages are refused");
	expect(hutong_xen_grant(1, HUTONG_XEN_PAGES_MAX + 1, refs) == -EINVAL, "too many pages are refused");
	expect(hutong_xen_grant(0x7ff0, 1, refs) == -EINVAL, "a reserved domain is refused");
	expect(hutong_xen_grant(1, 1, NULL) == -EINVAL, "a grant without room for references is refused");
	expect(hutong_xen_map(1, 0, refs) == -EINVAL, "a mapping of nothing is refused");
	expect(hutong_xen_event_new(0x7ff0, &port) == -EINVAL, "an event channel to a reserved domain is refused");
	expect(hutong_xen_event_bind(1, 1, NULL) == -EINVAL, "a port must have a place");
	expect(hutong_xen_event_ring(-1, 1) == -EBADF, "ringing needs a descriptor");
	expect(hutong_xen_domains(NULL, 1) == -EINVAL, "a list must have a place");
	expect(hutong_xen_version() == HUTONG_XEN_VERSION, "the version is the header's");
}

static void not_available(void)
{
	uint32_t refs[1] = { 0 }, port, domids[4];

	expect(hutong_xen_grant(1, 1, refs) < 0, "there are no grants");
	expect(hutong_xen_map(1, 1, refs) < 0, "there are no mappings");
	expect(hutong_xen_event_new(1, &port) < 0, "there are no event channels");
	expect(hutong_xen_event_bind(1, 1, &port) < 0, "there is nothing to bind");
	expect(hutong_xen_domains(domids, 4) < 0, "there are no domains");
}

static void loop_pages(uint32_t self)
{
	uint32_t refs[PAGES];
	int granted = hutong_xen_grant(self, PAGES, refs);
	int mapped = granted < 0 ? -1 : hutong_xen_map(self, PAGES, refs);
	char *a = granted < 0 ? MAP_FAILED : mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, granted, 0);
	char *b = mapped < 0 ? MAP_FAILED : mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);

	expect(granted >= 0 && mapped >= 0, "pages are granted and taken");
	expect(a != MAP_FAILED && b != MAP_FAILED, "both map them");
	if (a != MAP_FAILED && b != MAP_FAILED) {
		expect(a[0] == 0 && a[PAGES * PAGE - 1] == 0, "they are zeroed");
		strcpy(a + PAGE, "there");
		strcpy(b + 2 * PAGE, "back");
		expect(!strcmp(b + PAGE, "there") && !strcmp(a + 2 * PAGE, "back"), "what one writes the other reads");
	}
	close(granted);
	close(mapped);
	if (b != MAP_FAILED)
		munmap(b, PAGES * PAGE);
	if (a != MAP_FAILED)
		munmap(a, PAGES * PAGE);
}

static void loop_events(uint32_t self)
{
	uint32_t port = 0, other = 0, told = 0;
	int one = hutong_xen_event_new(self, &port), two = hutong_xen_event_bind(self, port, &other);
	struct pollfd p = { .fd = one, .events = POLLIN };

	expect(one >= 0 && two >= 0 && port && other, "both ends are bound");
	(void)!read(one, &told, sizeof(told));
	(void)!write(one, &port, sizeof(port)); /* binding rings once */
	expect(!hutong_xen_event_ring(two, other) && poll(&p, 1, 10000) == 1, "a ring is heard");
	expect(read(one, &told, sizeof(told)) == sizeof(told) && told == port, "and names the port");
	close(one);
	close(two);
}

int main(int argc, char **argv)
{
	int before = open_files();

	bad_arguments();
	if (argc == 3 && !strcmp(argv[1], "loop")) {
		loop_pages((uint32_t)atoi(argv[2]));
		loop_events((uint32_t)atoi(argv[2]));
	} else if (access("/dev/xen/gntalloc", F_OK) != 0) {
		not_available();
	}
	expect(open_files() == before, "nothing is left open");
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
