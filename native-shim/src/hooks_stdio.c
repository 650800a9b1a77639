/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks_stdio.c - interposed: FILEs on sockets (rule 8).
 *
 * stdio's own calls go past us.  For a connection on a channel the FILE is one of fopencookie(), whose calls are ours: what
 * is in the ring stays where read() and recv() find it too, whatever the program does with the FILE's buffer.  Any other
 * connection stays on TCP from now on.
 */
#include <stdlib.h>
#include <string.h>

#include "real.h"

struct cookie {
	int fd;
	FILE *file;
};

/* Those FILEs, to be flushed at the end. */
#define FILES 256
static _Atomic(FILE *) files[FILES];

static void remember(FILE *f)
{
	for (int i = 0; i < FILES; i++) {
		FILE *none = NULL;

		if (atomic_compare_exchange_strong(&files[i], &none, f))
			return;
	}
	/* No place: libc flushes it, after the end of the connection has been told. */
}

static void forget(FILE *f)
{
	for (int i = 0; i < FILES; i++) {
		FILE *it = f;

		atomic_compare_exchange_strong(&files[i], &it, NULL);
	}
}

static int number(const void *cookie)
{
	return ((const struct cookie *)cookie)->fd;
}

static ssize_t file_read(void *cookie, char *buf, size_t len)
{
	return read(number(cookie), buf, len);
}

/* As libc's own FILEs do: all of it, or as far as it goes. */
static ssize_t file_write(void *cookie, const char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(number(cookie), buf + done, len - done);

		if (n < 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int file_seek(void *cookie, off64_t *to, int whence)
{
	*to = lseek(number(cookie), *to, whence); /* the kernel says what is wrong with that */
	return *to < 0 ? -1 : 0;
}

static int file_close(void *cookie)
{
	struct cookie *k = cookie;
	int fd = k->fd;

	forget(k->file);
	free(k);
	return close(fd);
}

#define SOCKET_BLOCK 4096 /* st_blksize, which is how large a buffer stdio takes */

static FILE *file_on(int fd, const char *mode)
{
	static const cookie_io_functions_t calls = { file_read, file_write, file_seek, file_close };
	struct cookie *k;
	bool plus = false;
	FILE *f;

	if (*mode != 'r' && *mode != 'w' && *mode != 'a') {
		errno = EINVAL;
		return NULL;
	}
	for (int i = 1; i < 5 && mode[i]; i++)
		plus |= mode[i] == '+';
	if (*mode == 'a') {
		int flags = REAL(fcntl)(fd, F_GETFL);

		if (flags < 0 || (!(flags & O_APPEND) && REAL(fcntl)(fd, F_SETFL, flags | O_APPEND)))
			return NULL;
	}
	k = malloc(sizeof(*k));
	f = k ? fopencookie(k, (char[]){ *mode, plus ? '+' : 0, 0 }, calls) : NULL;
	if (!f) {
		free(k);
		return NULL;
	}
	*k = (struct cookie){ fd, f };
	f->_fileno = fd;
	f->_wide_data = NULL; /* there are none, and freopen() must not write there */
	f->_IO_buf_base = malloc(SOCKET_BLOCK); /* as stdio itself would, but for a size that it cannot ask for here */
	f->_IO_buf_end = f->_IO_buf_base ? f->_IO_buf_base + SOCKET_BLOCK : NULL;
	remember(f);
	return f;
}

HUT_EXPORT FILE *fdopen(int fd, const char *mode)
{
	struct conn *c = conn_get(fd);
	bool channel = c && conn_state(c) == HUT_END_CHANNEL && conn_progress(c, fd);
	int saved = errno;
	FILE *f;

	if (c)
		conn_put(c);
	if (channel && (uintptr_t)mode >= HUT_PAGE) {
		f = file_on(fd, mode);
	} else {
		if (c)
			conn_never(fd, HUT_R_STDIO);
		f = REAL(fdopen)(fd, mode);
	}
	if (f)
		errno = saved;
	return f;
}

/* What stdio holds goes before the end does.  False: its error is the call's. */
static bool flushed(FILE *f, int *error)
{
	int fd = f ? fileno(f) : -1, rc;

	if (LIKELY(fd < 0 || !table_peek(fd)))
		return true;
	rc = fflush(f);
	*error = errno;
	life_replaced(fd);
	return rc == 0;
}

HUT_EXPORT int fclose(FILE *f)
{
	int error = 0;
	bool well = flushed(f, &error);
	int rc = REAL(fclose)(f);

	if (LIKELY(well))
		return rc;
	errno = error;
	return EOF;
}

/* It puts another file at the same number, inside.  What was made without wide characters stays so. */
static FILE *reopen(FILE *(*call)(const char *, const char *, FILE *), const char *path, const char *mode, FILE *f)
{
	bool narrow = f && !f->_wide_data;
	int error;

	flushed(f, &error);
	if (f)
		forget(f);
	f = call(path, mode, f);
	if (f && UNLIKELY(narrow))
		f->_mode = -1;
	return f;
}

HUT_EXPORT FILE *freopen(const char *path, const char *mode, FILE *f)
{
	return reopen(NEXT(freopen), path, mode, f);
}

HUT_EXPORT FILE *freopen64(const char *path, const char *mode, FILE *f)
{
	return reopen(NEXT(freopen64), path, mode, f);
}

/*
 * exit() lets stdio flush after the library has said that this process is at its end.  Without locks, as exit() does it:
 * another thread may sleep in a read with one.
 */
void stdio_flush(void)
{
	for (int i = 0; i < FILES; i++) {
		FILE *f = atomic_load(&files[i]);

		if (UNLIKELY(f != NULL))
			fflush_unlocked(f);
	}
}

/* ---- other names for the same ---- */

HUT_EXPORT FILE *_IO_fdopen(int fd, const char *mode) __THROW __attribute_malloc__ __attribute__((alias("fdopen")));
HUT_EXPORT int _IO_fclose(FILE *f) __attribute__((alias("fclose")));
