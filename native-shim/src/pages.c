/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.c - a ring's memory, when its stream comes there for the first time.
 *
 * A segment's pages are made when they are touched, so that a connection has only what it uses.  Where a virtual machine
 * pays dearly for a fault (measured: 13 us a page, on each side, against 1.1 us when asked for by the dozen), a process
 * with many connections spends its time on that.  So they are asked for in steps that double: never more than twice what
 * the stream has been over, and few calls until the area is complete.
 */
#include <sys/mman.h>

#include "shim.h"

#ifndef MADV_POPULATE_WRITE /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define STEP_FIRST HUT_PAGE
#define STEP_MOST (128u << 10)

static bool populate(uint8_t *from, size_t len, bool write)
{
	uintptr_t begin = (uintptr_t)from & ~(uintptr_t)(HUT_PAGE - 1), end = (uintptr_t)from + len;

	return madvise((void *)begin, end - begin, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0;
}

void pages_get(struct paging *p, uint8_t *area, uint32_t size, uint64_t off, size_t len, bool write)
{
	uint64_t first = off & ~(uint64_t)(HUT_PAGE - 1);
	uint64_t step = p->done < STEP_FIRST ? STEP_FIRST : p->done < STEP_MOST ? p->done : STEP_MOST;
	int saved = errno;

	if (p->done && p->to > first)
		first = p->to; /* the stream has just come on; else it comes back from TCP, further on */
	if (step < off + len - first)
		step = (off + len - first + HUT_PAGE - 1) & ~(uint64_t)(HUT_PAGE - 1);
	if (step > size)
		step = size;

	size_t at = first & (size - 1), part = step < size - at ? step : size - at;
	bool well = populate(area + at, part, write) && (part == step || populate(area, step - part, write));

	p->done = step < size - p->done ? p->done + (uint32_t)step : size;
	p->to = well && p->done < size ? first + step : UINT64_MAX;
	errno = saved;
}
