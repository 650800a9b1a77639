/* SPDX-License-Identifier: Apache-2.0 */
/* cover.c - edge coverage of the shim's code, which is compiled with -fsanitize-coverage=trace-pc; this file is not, nor for sanitizers. */
#include "hostile.h"

#define EDGES (1u << 16)
#define STATES (1u << 19)

static uint8_t by_state[STATES], plain[EDGES];
static __thread uint32_t before __attribute__((tls_model("initial-exec")));

uint64_t cover_new, cover_edges;
uint32_t cover_state;
int64_t cover_budget = INT64_MAX;

void __sanitizer_cov_trace_pc(void);

void __sanitizer_cov_trace_pc(void)
{
	uint32_t pc = (uint32_t)(uintptr_t)__builtin_return_address(0) * 0x9e3779b1u >> 16;
	uint32_t edge = (pc ^ before) & (EDGES - 1), i = (edge + cover_state) & (STATES - 1);

	before = pc >> 1;
	if (UNLIKELY(!plain[edge])) {
		plain[edge] = 1;
		cover_edges++;
	}
	if (UNLIKELY(!by_state[i])) {
		by_state[i] = 1;
		cover_new++;
	}
	if (UNLIKELY(--cover_budget < 0)) {
		cover_budget = INT64_MAX;
		violation("a call does not come to its end");
	}
}
