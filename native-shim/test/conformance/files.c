/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - cases about stdio's FILEs on a socket (rule 8): buffers, output after input, modes, errors, other numbers. */
#include "harness.h"

static void line_of(FILE *f)
{
	char line[64], *s = fgets(line, sizeof(line), f);

	if (s)
		s[strcspn(s, "\n")] = 0;
	note(" line=%s", s ? s : "none");
}

/* Bytes wait when the FILE gets another buffer, or none. */
static void buffered(int fd, int mode)
{
	static char mine[256];
	FILE *f;

	until_queued(fd, 10);
	f = fdopen(fd, "r+");
	note(" setvbuf=%d", setvbuf(f, mode == _IOFBF ? mine : NULL, mode, mode == _IOFBF ? sizeof(mine) : 0));
	go(TO_B);
	line_of(f);
	line_of(f);
	note(" fclose=%d", fclose(f));
}

static void b_two_lines(int fd)
{
	char c;

	wr(fd, "line1\nlin\n");
	await(TO_B);
	wr(fd, "after\n");
	shutdown(fd, SHUT_WR);
	while (recv(fd, &c, 1, 0) > 0)
		;
}

static void a_file_unbuffered(int fd)
{
	buffered(fd, _IONBF);
}

static void b_file_unbuffered(int fd)
{
	b_two_lines(fd);
}

static void a_file_own_buffer(int fd)
{
	buffered(fd, _IOFBF);
}

static void b_file_own_buffer(int fd)
{
	b_two_lines(fd);
}

/* Output first, while bytes wait; then input. */
static void a_file_writes_first(int fd)
{
	FILE *f;

	until_queued(fd, 6);
	f = fdopen(fd, "r+");
	note(" printf=%d", fprintf(f, "hello\n"));
	note(" flush=%d", fflush(f));
	go(TO_B);
	noted("seek", fseek(f, 0, SEEK_CUR));
	line_of(f);
	fclose(f);
}

static void b_file_writes_first(int fd)
{
	wr(fd, "early\n");
	await(TO_B);
	rcvtimeo(fd, 500);
	rd(fd, 6, MSG_WAITALL);
}

/* What the FILE has not read is there for recv(), and what it reads is as much as stdio takes at a time. */
static void a_file_and_recv(int fd)
{
	int queued;
	FILE *f;

	until_queued(fd, 6000);
	f = fdopen(fd, "r");
	note(" c=%d", fgetc(f));
	ioctl(fd, FIONREAD, &queued);
	note(" queued=%d got=%zu", queued, take(fd, 4096, 6000 - 4096));
	go(TO_B);
	fclose(f);
}

static void b_file_and_recv(int fd)
{
	note(" put=%zu", put(fd, 0, 6000));
	await(TO_B);
}

/* A mode that is none takes nothing away. */
static void a_file_bad_mode(int fd)
{
	until_queued(fd, 5);
	note(" fdopen=%d/%s", fdopen(fd, "q+") != NULL, strerrorname_np(errno));
	rcvtimeo(fd, 500);
	rd(fd, 5, 0);
	note(" append=%d", fdopen(fd, "ab") != NULL);
	note(" flags=%x", fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK));
	go(TO_B);
}

static void b_file_bad_mode(int fd)
{
	wr(fd, "bytes");
	await(TO_B);
}

/* Reset with bytes queued: the bytes, then the error. */
static void a_file_reset(int fd)
{
	char b[16];
	FILE *f;

	until_queued(fd, 5);
	go(TO_B);
	until_ended(fd);
	f = fdopen(fd, "r");
	size_t n = fread(b, 1, sizeof(b), f);

	note(" fread=%zu error=%d/%s eof=%d", n, !!ferror(f), ferror(f) ? strerrorname_np(errno) : "-", !!feof(f));
	fclose(f);
}

static void b_file_reset(int fd)
{
	linger_of(fd, 1, 0);
	wr(fd, "bytes");
	await(TO_B);
	close(fd);
}

/* fclose() tells of what could not be sent any more, and sends no signal for it. */
static void a_file_close_fails(int fd)
{
	FILE *f = fdopen(fd, "w");
	int rc;

	handle(SIGPIPE, SA_RESTART);
	fprintf(f, "unsent");
	go(TO_B);
	until_ended(fd);
	rc = fclose(f);
	note(" fclose=%d/%s signals=%d", rc, err(rc), signals);
}

static void b_file_close_fails(int fd)
{
	linger_of(fd, 1, 0);
	await(TO_B);
	close(fd);
}

/* Another file at the same number. */
static void a_file_reopened(int fd)
{
	FILE *f = fdopen(fd, "w");
	struct pollfd p = { fd, POLLOUT, 0 };

	fprintf(f, "last");
	f = freopen("/dev/null", "w", f);
	note(" freopen=%d same=%d", f != NULL, f && fileno(f) == fd);
	note(" printf=%d write=%zd", fprintf(f, "x"), write(fd, "x", 1));
	note(" poll=%d:%x", poll(&p, 1, 0), (unsigned int)p.revents);
	go(TO_B);
	await(TO_A);
	note(" fclose=%d", fclose(f));
}

static void b_file_reopened(int fd)
{
	rd(fd, 4, MSG_WAITALL);
	await(TO_B);
	rd(fd, 1, 0);
	go(TO_A);
}

static void sit_in_file(struct thr *t)
{
	fgetc(fdopen(dup(t->fd), "r"));
}

/* What a FILE still holds goes out when the process ends by exit(), though a thread sleeps in another one. */
static void a_file_at_exit(int fd)
{
	static struct thr t;

	thr_start(&t, sit_in_file, fd, 0);
	thr_asleep(&t);
	fprintf(fdopen(fd, "w"), "at the end");
	exit(0);
}

static void b_file_at_exit(int fd)
{
	rd(fd, 20, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* ---- numbers that stdio uses ---- */

static void a_stdin_by_dupfd(int fd)
{
	close(0);
	note(" dup=%d", fcntl(fd, F_DUPFD, 0));
	go(TO_B);
	line_of(stdin);
	wr(fd, "x");
}

static void b_line_to_stdin(int fd)
{
	await(TO_B);
	wr(fd, "line\n");
	rd(fd, 1, 0);
}

static void b_stdin_by_dupfd(int fd)
{
	b_line_to_stdin(fd);
}

static void a_stdout_by_dupfd(int fd)
{
	close(1);
	note(" dup=%d", fcntl(fd, F_DUPFD, 1));
	printf("hello\n");
	fflush(stdout);
	wr(fd, "after");
	rd(fd, 1, 0);
	close(1);
}

static void b_stdout_by_dupfd(int fd)
{
	rd(fd, 11, MSG_WAITALL);
	wr(fd, "x");
}

/* So long to and fro that a connection that may move has moved. */
static void busy(int fd, bool first)
{
	char c;

	for (int i = 0; i < 200; i++) {
		if (first)
			send(fd, "x", 1, 0);
		if (recv(fd, &c, 1, 0) != 1)
			note(" broken at %d", i);
		if (!first)
			send(fd, "x", 1, 0);
		if (first && i % 5 == 0)
			ms(2);
	}
}

static void a_stdin_by_accept(int listener)
{
	int fd;

	close(0);
	fd = pick(listener);
	note(" accept=%d", fd);
	busy(fd, true);
	go(TO_B);
	line_of(stdin);
	wr(fd, "x");
}

static void b_stdin_by_accept(int none)
{
	int fd = dial();

	(void)none;
	busy(fd, false);
	b_line_to_stdin(fd);
}

/* ---- other names ---- */

ssize_t __read(int, void *, size_t);
ssize_t __write(int, const void *, size_t);
int __close(int);

static void a_other_names(int fd)
{
	char c;

	noted("write", __write(fd, "abc", 3));
	noted("read", __read(fd, &c, 1));
	noted("close", __close(fd));
}

static void b_other_names(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "x");
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(file_unbuffered, "8", WARM),
	CASE(file_own_buffer, "8", WARM),
	CASE(file_writes_first, "8", WARM),
	CASE(file_and_recv, "5,8", WARM),
	CASE(file_bad_mode, "8", WARM),
	CASE(file_reset, "8,16", WARM),
	CASE(file_close_fails, "8,16", WARM),
	CASE(file_reopened, "8,16", WARM),
	CASE(file_at_exit, "8,16", WARM),
	CASE(stdin_by_dupfd, "8", WARM),
	CASE(stdout_by_dupfd, "8", WARM),
	CASE(stdin_by_accept, "8", RAW_COLD),
	CASE(other_names, "8", WARM),
};
GROUP(files);
