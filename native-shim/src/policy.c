/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c - HUTONG_INCLUDE and HUTONG_EXCLUDE.
 *
 *   list = rule { (";" | blank) rule }     rule = part { "," part }, all of which must hold
 *   part = program=NAME | net=ADDRESS[/BITS] | port=N[-M] | uid=N
 *
 * The agent knows the same language (hutong.intercept, RuleList.java); both are tested with test/policy_cases.txt.
 * Who the program is does not change, so a rule about another program or user is dropped while it is read.
 * No allocation, and no call that is interposed: this runs before anything else of the library.
 */
#include "policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COMM_MAX 15 /* TASK_COMM_LEN without its NUL */

struct net {
	uint8_t addr[16];
	unsigned int bits; /* of the 128; an IPv4 network has 96 more than it says */
	bool v4;
};

struct rule {
	struct net net;
	bool has_net;
	uint16_t low, high; /* 0: any port */
};

struct list {
	struct rule rule[POLICY_RULES];
	unsigned int count; /* rules that can match this program */
	bool given;         /* there was any rule at all */
};

static struct list includes, excludes;
static bool active, broken;

/* ---- reading ---- */

struct text {
	const char *at;
	size_t len;
};

static bool wrong(char *why, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static bool wrong(char *why, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, size, fmt, ap);
	va_end(ap);
	return false;
}

static bool is(struct text t, const char *word)
{
	return t.len == strlen(word) && memcmp(t.at, word, t.len) == 0;
}

/* Plain digits only; no more than ten of them. */
static bool number(struct text t, uint64_t max, uint64_t *out)
{
	uint64_t n = 0;

	if (!t.len || t.len > 10)
		return false;
	for (size_t i = 0; i < t.len; i++) {
		if (t.at[i] < '0' || t.at[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(t.at[i] - '0');
	}
	*out = n;
	return n <= max;
}

/* Splits at the first c; the second half is empty, and `has` false, when there is none. */
static struct text split(struct text *t, char c, bool *has)
{
	const char *p = memchr(t->at, c, t->len);
	struct text rest = { t->at + t->len, 0 };

	*has = p != NULL;
	if (p) {
		rest = (struct text){ p + 1, t->len - (size_t)(p + 1 - t->at) };
		t->len = (size_t)(p - t->at);
	}
	return rest;
}

static bool mapped(const uint8_t a[16])
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a, prefix, sizeof(prefix)) == 0;
}

static bool parse_net(struct text t, struct net *out)
{
	char buf[INET6_ADDRSTRLEN];
	bool has_bits;
	struct text bits = split(&t, '/', &has_bits);
	bool dotted = !memchr(t.at, ':', t.len);
	uint64_t n = dotted ? 32 : 128;

	if (!t.len || t.len >= sizeof(buf) || (has_bits && !number(bits, n, &n)))
		return false;
	memcpy(buf, t.at, t.len);
	buf[t.len] = '\0';
	memset(out->addr, 0, sizeof(out->addr));
	if (dotted) {
		out->addr[10] = out->addr[11] = 0xff;
		n += 96;
	}
	if (inet_pton(dotted ? AF_INET : AF_INET6, buf, dotted ? out->addr + 12 : out->addr) != 1)
		return false;
	out->bits = (unsigned int)n;
	/* ::/0 is all of IPv6; all of IPv4 is 0.0.0.0/0, or ::ffff:0:0/96. */
	out->v4 = n >= 96 && mapped(out->addr);
	return true;
}

static bool parse_port(struct text t, struct rule *out)
{
	bool range;
	struct text to = split(&t, '-', &range);
	uint64_t low, high;

	if (!number(t, 65535, &low) || !low)
		return false;
	high = low;
	if (range && (!number(to, 65535, &high) || high < low))
		return false;
	out->low = (uint16_t)low;
	out->high = (uint16_t)high;
	return true;
}

static bool named(struct text t, const struct policy_self *self)
{
	size_t cut = strlen(self->comm) == COMM_MAX && t.len > COMM_MAX ? COMM_MAX : t.len;

	return is((struct text){ t.at, cut }, self->comm) || is(t, self->exe);
}

enum key { KEY_PROGRAM = 1, KEY_NET = 2, KEY_PORT = 4, KEY_UID = 8 };

static enum key key_of(struct text t)
{
	return is(t, "program") ? KEY_PROGRAM : is(t, "net") ? KEY_NET : is(t, "port") ? KEY_PORT :
	       is(t, "uid") ? KEY_UID : 0;
}

/* One rule; `mine` tells whether it can match this program. */
static bool parse_rule(struct text rule, const struct policy_self *self, struct rule *out, bool *mine, char *why,
		       size_t size)
{
	unsigned int seen = 0;
	bool more = true;

	memset(out, 0, sizeof(*out));
	*mine = true;
	while (more) {
		struct text part = rule, key, value;
		bool has_value, good = true;
		uint64_t uid = 0;
		enum key k;

		rule = split(&part, ',', &more);
		key = part;
		value = split(&key, '=', &has_value);
		k = key_of(key);
		if (!k || !has_value || !value.len)
			return wrong(why, size, "'%.*s' is not program=NAME, net=ADDRESS[/BITS], port=N[-M] or uid=N",
				     (int)part.len, part.at);
		if (seen & k)
			return wrong(why, size, "'%.*s': a rule has one %.*s only", (int)part.len, part.at, (int)key.len,
				     key.at);
		seen |= k;
		switch (k) {
		case KEY_PROGRAM:
			good = !memchr(value.at, '/', value.len);
			*mine = *mine && named(value, self);
			break;
		case KEY_NET:
			good = parse_net(value, &out->net);
			out->has_net = true;
			break;
		case KEY_PORT:
			good = parse_port(value, out);
			break;
		case KEY_UID:
			good = number(value, UINT32_MAX - 1, &uid);
			*mine = *mine && uid == self->uid;
			break;
		}
		if (!good)
			return wrong(why, size, "'%.*s': no such %.*s", (int)part.len, part.at, (int)key.len, key.at);
	}
	return true;
}

static bool parse_list(const char *name, const char *rules, const struct policy_self *self, struct list *out, char *why,
		       size_t size)
{
	static const char gaps[] = "; \t\r\n";
	unsigned int total = 0;
	int n = snprintf(why, size, "%s: ", name);
	bool mine;

	memset(out, 0, sizeof(*out));
	for (const char *p = rules ? rules + strspn(rules, gaps) : ""; *p; p += strspn(p, gaps)) {
		struct text rule = { p, strcspn(p, gaps) };
		struct rule parsed;

		p += rule.len;
		out->given = true;
		if (++total > POLICY_RULES)
			return wrong(why + n, size - (size_t)n, "more than %d rules", POLICY_RULES);
		if (!parse_rule(rule, self, &parsed, &mine, why + n, size - (size_t)n))
			return false;
		if (mine)
			out->rule[out->count++] = parsed;
	}
	return true;
}

bool policy_parse(const char *include, const char *exclude, const struct policy_self *self, char *why, size_t size)
{
	broken = !parse_list("HUTONG_INCLUDE", include, self, &includes, why, size) ||
		 !parse_list("HUTONG_EXCLUDE", exclude, self, &excludes, why, size);
	active = broken || includes.given || excludes.given;
	return !broken;
}

void policy_init(void)
{
	const char *include = getenv("HUTONG_INCLUDE"), *exclude = getenv("HUTONG_EXCLUDE");
	static char path[4096];
	char comm[COMM_MAX + 1] = "", why[256], line[400];
	struct policy_self self = { comm, "", (uint32_t)geteuid() };
	ssize_t n;

	if (!include && !exclude)
		return;
	prctl(PR_GET_NAME, comm);
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n > 0) {
		path[n] = '\0';
		self.exe = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	}
	if (!policy_parse(include, exclude, &self, why, sizeof(why))) {
		int len = snprintf(line, sizeof(line), "hutong: %s; all connections stay on TCP\n", why);

		syscall(SYS_write, 2, line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
	}
}

/* ---- asking ---- */

struct place {
	uint8_t addr[16];
	uint16_t port;
	bool v4;
};

static bool place_of(const struct sockaddr *sa, struct place *out)
{
	memset(out, 0, sizeof(*out));
	if (sa && sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		out->addr[10] = out->addr[11] = 0xff;
		memcpy(out->addr + 12, &in->sin_addr, 4);
		out->port = ntohs(in->sin_port);
	} else if (sa && sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		memcpy(out->addr, &in6->sin6_addr, 16);
		out->port = ntohs(in6->sin6_port);
	} else {
		return false;
	}
	out->v4 = mapped(out->addr);
	return true;
}

static bool inside(const struct net *net, const struct place *p)
{
	unsigned int bytes = net->bits / 8, rest = net->bits % 8;

	if (net->v4 != p->v4 || memcmp(net->addr, p->addr, bytes))
		return false;
	return !rest || (net->addr[bytes] ^ p->addr[bytes]) >> (8 - rest) == 0;
}

static bool has_port(const struct rule *r, uint16_t port)
{
	return port >= r->low && port <= r->high;
}

static bool matches(const struct list *l, const struct place *local, const struct place *peer)
{
	for (unsigned int i = 0; i < l->count; i++) {
		const struct rule *r = &l->rule[i];

		if ((!r->has_net || inside(&r->net, peer)) &&
		    (!r->low || has_port(r, local->port) || has_port(r, peer->port)))
			return true;
	}
	return false;
}

bool policy_allows(const struct sockaddr *local, const struct sockaddr *peer)
{
	struct place here, there;

	if (__builtin_expect(!active, 1))
		return true;
	if (broken || !place_of(peer, &there))
		return false;
	place_of(local, &here); /* unknown: port 0, which no rule has */
	return !matches(&excludes, &here, &there) && (!includes.given || matches(&includes, &here, &there));
}
