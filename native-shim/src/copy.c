/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - copying into a ring.
 *
 * memcpy() of more than about 2 KiB is one string instruction on today's processors.  It writes whole lines without
 * fetching them from the reader's core first.  But on AMD's Zen 3 to 5, when the target is 1 to 63 bytes, modulo the page,
 * beyond the source (glibc bug 30994), it does fetch them, and with the reader behind another cache falls to a fourth of
 * its speed.  A stream that began with a few bytes of greeting and goes on in page-sized blocks meets that with each of
 * them.  Stores that bypass the cache fetch no lines either; but between cores that share a cache memcpy() is the faster
 * one all the same.  Which it is changes while programs run, since hypervisors move processors: so it is measured.
 */
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "shim.h"

#if defined(__SSE2__)
#define LINE 64u
#define WORTH 8192u       /* smaller copies have no such troubles */
/*
 * Measured on Zen 5: 7 to 13 with the trouble, 20 and more without it, but one in 500 is slow for other reasons.  Past the
 * cache it is 20 and more in both cases, but where memcpy() has no trouble the reader pays for it.
 */
#define SLOW_BYTES_A_NS 14u
#define PAST_TURNS 15     /* copies until memcpy() is tried again; twice as many after each trial that is slow as well, */
#define PAST_MOST 255     /* up to this: a trial costs as much as four other copies */
#define PLAIN_TURNS 3     /* copies until it is measured again, which costs two looks at the clock */

static bool aliased(const uint8_t *dst, const uint8_t *src)
{
	size_t ahead = (size_t)((uintptr_t)dst - (uintptr_t)src) % HUT_PAGE;

	return ahead > 0 && ahead < LINE;
}

static void copy_past_cache(uint8_t *dst, const uint8_t *src, size_t len)
{
	size_t head = (LINE - (uintptr_t)dst % LINE) % LINE;

	memcpy(dst, src, head);
	for (dst += head, src += head, len -= head; len >= LINE; dst += LINE, src += LINE, len -= LINE)
		for (unsigned int i = 0; i < LINE; i += sizeof(__m128i))
			_mm_stream_si128((__m128i *)(void *)(dst + i),
					 _mm_loadu_si128((const __m128i *)(const void *)(src + i)));
	memcpy(dst, src, len);
	_mm_sfence(); /* a release store orders ordinary stores only */
}

static void copy_measured(struct copying *how, uint8_t *dst, const uint8_t *src, size_t len)
{
	uint64_t began = now_ns();

	memcpy(dst, src, len);
	if (now_ns() - began > len / SLOW_BYTES_A_NS) {
		how->past = how->next_past ? how->next_past : PAST_TURNS;
		how->next_past = how->past < PAST_MOST / 2 ? (uint8_t)(2 * how->past) : PAST_MOST;
	} else {
		how->plain = PLAIN_TURNS;
		how->next_past = PAST_TURNS;
	}
}

void copy_in(struct copying *how, uint8_t *dst, const uint8_t *src, size_t len)
{
	if (LIKELY(len < WORTH || !aliased(dst, src))) {
		memcpy(dst, src, len);
	} else if (how->past) {
		how->past--;
		copy_past_cache(dst, src, len);
	} else if (how->plain) {
		how->plain--;
		memcpy(dst, src, len);
	} else {
		copy_measured(how, dst, src, len);
	}
}
#else
void copy_in(struct copying *how, uint8_t *dst, const uint8_t *src, size_t len)
{
	(void)how;
	memcpy(dst, src, len);
}
#endif
