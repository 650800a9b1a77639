/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farsock.c - what the kernel says has become of a program's socket, by sock_diag.
 */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "farline.h"

static int diag_fd;

void far_socket_init(void)
{
	diag_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (diag_fd < 0) {
		perror("far: sock_diag");
		exit(1);
	}
}

enum holding far_holding(const struct far_half *h)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool v4 = !memcmp(h->local, mapped, 12);
	struct {
		struct nlmsghdr n;
		struct inet_diag_req_v2 r;
	} ask = { .n = { sizeof(ask), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0 } };
	union {
		struct nlmsghdr n;
		char bytes[4096];
	} got;
	const struct inet_diag_msg *m = NLMSG_DATA(&got.n);
	ssize_t n;

	ask.r.sdiag_family = v4 ? AF_INET : AF_INET6;
	ask.r.sdiag_protocol = IPPROTO_TCP;
	ask.r.idiag_states = ~0u;
	memcpy(&ask.r.id.idiag_sport, h->local + 16, 2);
	memcpy(&ask.r.id.idiag_dport, h->remote + 16, 2);
	memcpy(ask.r.id.idiag_src, h->local + (v4 ? 12 : 0), v4 ? 4 : 16);
	memcpy(ask.r.id.idiag_dst, h->remote + (v4 ? 12 : 0), v4 ? 4 : 16);
	ask.r.id.idiag_cookie[0] = (uint32_t)h->cookie;
	ask.r.id.idiag_cookie[1] = (uint32_t)(h->cookie >> 32);
	if (send(diag_fd, &ask, sizeof(ask), 0) < 0 || (n = recv(diag_fd, &got, sizeof(got), 0)) < 0) {
		perror("far: sock_diag");
		return OPEN;
	}
	if (got.n.nlmsg_type != SOCK_DIAG_BY_FAMILY || n < (ssize_t)NLMSG_LENGTH(sizeof(*m)) || !m->idiag_inode)
		return GONE;
	return m->idiag_state == 1 || m->idiag_state == 8 ? OPEN : SHUT; /* ESTABLISHED, CLOSE_WAIT */
}
