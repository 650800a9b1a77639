/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_test.c - the language of HUTONG_INCLUDE and HUTONG_EXCLUDE: all of policy_cases.txt, the limits, the
 * environment, and noise.  Built with ASan+UBSan.  usage: policy_test CASES [SEED]
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy.h"

static int passed, failed;
static uint64_t seed = 1;

static void check(bool ok, const char *what)
{
	if (ok) {
		passed++;
		return;
	}
	failed++;
	printf("policy_test: FAILED: %s (seed %llu)\n", what, (unsigned long long)seed);
}

static char *trim(char *s)
{
	char *end;

	s += strspn(s, " \n");
	for (end = s + strlen(s); end > s && strchr(" \n", end[-1]); end--)
		;
	*end = '\0';
	return s;
}

/* "ADDRESS PORT", or "-" for none. */
static const struct sockaddr *place(char *text, struct sockaddr_storage *out)
{
	char *gap = strchr(text, ' ');
	struct sockaddr_in *in = (void *)out;
	struct sockaddr_in6 *in6 = (void *)out;

	memset(out, 0, sizeof(*out));
	if (!gap)
		return NULL;
	*gap = '\0';
	if (strchr(text, ':')) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)atoi(gap + 1));
		if (inet_pton(AF_INET6, text, &in6->sin6_addr) != 1)
			check(false, "the case's IPv6 address");
	} else {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(gap + 1));
		if (inet_pton(AF_INET, text, &in->sin_addr) != 1)
			check(false, "the case's IPv4 address");
	}
	return (const struct sockaddr *)out;
}

static void cases(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[512], why[256];
	int before = passed, lines = 0;

	check(f != NULL, "the cases are there");
	while (f && fgets(line, sizeof(line), f)) {
		char copy[512], *field[8], *rest = line;
		struct sockaddr_storage a, b;
		struct policy_self self;
		int n = 0;

		if (line[0] == '#' || line[0] == '\n')
			continue;
		strcpy(copy, line);
		while (n < 8 && rest)
			field[n++] = trim(strsep(&rest, "|"));
		if (n != 8 || rest) {
			check(false, copy);
			continue;
		}
		self = (struct policy_self){ field[3], field[4], (uint32_t)strtoul(field[5], NULL, 10) };
		bool read = policy_parse(field[1], field[2], &self, why, sizeof(why));
		const struct sockaddr *local = place(field[6], &a), *peer = place(field[7], &b);
		bool allowed = policy_allows(local, peer);
		const char *found = !read ? (allowed ? "an error that allows" : "error") : allowed ? "yes" : "no";

		check(strcmp(found, field[0]) == 0, copy);
		if (!read)
			check(strstr(why, *field[1] ? "HUTONG_INCLUDE: " : "HUTONG_EXCLUDE: ") == why &&
			      strlen(why) > 20, copy);
		lines++;
	}
	if (f)
		fclose(f);
	check(lines > 90 && passed - before >= lines, "the file holds all the cases");
}

static void limits(void)
{
	struct policy_self self = { "x", "x", 0 };
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(164) };
	struct sockaddr_un other = { .sun_family = AF_UNIX };
	char rules[4096] = "", why[64];

	for (int i = 0; i < POLICY_RULES; i++)
		sprintf(rules + strlen(rules), "port=%d ", 101 + i);
	check(policy_parse(rules, NULL, &self, why, sizeof(why)), "as many rules as fit");
	check(policy_allows(NULL, (void *)&peer), "the last rule counts");
	check(!policy_allows(NULL, (void *)&other), "an address of another family matches no include");
	strcat(rules, "port=1");
	check(!policy_parse(rules, NULL, &self, why, sizeof(why)), "one rule too many");
	check(strstr(why, "64 rules") != NULL, "and that is said");
	check(!policy_allows(NULL, (void *)&peer), "nothing is allowed then");
	memset(rules, 'a', sizeof(rules) - 1);
	check(!policy_parse(NULL, rules, &self, why, sizeof(why)), "a long word is no rule");
	check(strlen(why) < sizeof(why), "its message is cut off");
	check(policy_parse(NULL, NULL, &self, why, sizeof(why)), "no rules at all");
	check(policy_allows(NULL, (void *)&peer) && policy_allows(NULL, (void *)&other), "allow all");
}

/* Any bytes at all: an answer and no more; ASan watches. */
static void noise(void)
{
	static const char bits[] = "program=net=port=uid=0123456789.:/-,; \tfff\xff\x01%";
	struct policy_self self = { "program", "net", 10 };
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(80) };
	char rules[200], why[100];
	int good = 0, bad = 0;

	srandom((unsigned int)seed);
	for (int i = 0; i < 200000; i++) {
		size_t len = (size_t)random() % (i % 2 ? 30 : sizeof(rules));

		strcpy(rules, i % 3 ? "" : "port=1-9,net=10.0.0.0/8;");
		for (size_t k = strlen(rules); k < len; k++) {
			rules[k] = bits[(size_t)random() % (sizeof(bits) - 1)];
			rules[k + 1 < sizeof(rules) ? k + 1 : k] = '\0';
		}
		if (policy_parse(rules, NULL, &self, why, sizeof(why)))
			good++;
		else
			bad++;
		policy_allows(NULL, (void *)&peer);
	}
	check(good > 100 && bad > 1000, "noise meets both rules and errors");
}

/* policy_init in a child, whose stderr is read; status 0 when the connection to port 80 is allowed. */
static int child(const char *include, const char *exclude, char *said, size_t size)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(80) };
	int p[2], status;
	size_t have = 0;
	ssize_t n;

	if (pipe(p))
		return -1;
	pid_t pid = fork();

	if (pid == 0) {
		dup2(p[1], 2);
		prctl(PR_SET_NAME, "renamed");
		if (include)
			setenv("HUTONG_INCLUDE", include, 1);
		if (exclude)
			setenv("HUTONG_EXCLUDE", exclude, 1);
		policy_init();
		_exit(!policy_allows(NULL, (void *)&peer));
	}
	close(p[1]);
	while ((n = read(p[0], said + have, size - 1 - have)) > 0)
		have += (size_t)n;
	said[have] = '\0';
	close(p[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void environment(void)
{
	char said[1000];

	unsetenv("HUTONG_INCLUDE");
	unsetenv("HUTONG_EXCLUDE");
	check(child(NULL, NULL, said, sizeof(said)) == 0 && !*said, "no variables");
	check(child("port=80", NULL, said, sizeof(said)) == 0 && !*said, "included");
	check(child("port=81", NULL, said, sizeof(said)) == 1 && !*said, "not included");
	check(child(NULL, "port=80", said, sizeof(said)) == 1 && !*said, "excluded");
	check(child("program=policy_test", NULL, said, sizeof(said)) == 0, "by the executable's name");
	check(child("program=renamed", NULL, said, sizeof(said)) == 0, "by the command's name");
	check(child("program=other", NULL, said, sizeof(said)) == 1, "another program");
	check(child("", "", said, sizeof(said)) == 0 && !*said, "empty variables");
	check(child("port=http", NULL, said, sizeof(said)) == 1, "an error allows nothing");
	check(strstr(said, "hutong: HUTONG_INCLUDE: 'port=http'") == said && strstr(said, "stay on TCP\n") &&
	      strchr(said, '\n') == said + strlen(said) - 1, "an error is one line on stderr");
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: policy_test CASES [SEED]\n");
		return 2;
	}
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0);
	environment();
	cases(argv[1]);
	limits();
	noise();
	printf("policy_test: %d passed, %d failed\n", passed, failed);
	return failed != 0;
}
