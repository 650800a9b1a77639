/* SPDX-License-Identifier: Apache-2.0 */
/* hooks_spawn.c - interposed: children that libc starts by itself, inside, where we see nothing of them (rules 8 and 10). */
#include <spawn.h>
#include <stdlib.h>

#include "real.h"

/*
 * The sources of noted dup2 actions.  They are looked at when a child is made, since a number may have become a
 * connection only after it was noted.
 */
#define NOTED 256

static struct {
	_Atomic(const posix_spawn_file_actions_t *) of; /* NULL: free */
	_Atomic int fd;
} noted[NOTED];

static bool note(const posix_spawn_file_actions_t *acts, int fd)
{
	for (int i = 0; i < NOTED; i++) {
		const posix_spawn_file_actions_t *none = NULL;

		/* Whoever sees the place taken, but an older number in it, has no business with these actions. */
		if (!atomic_load(&noted[i].of) && atomic_compare_exchange_strong(&noted[i].of, &none, acts)) {
			atomic_store(&noted[i].fd, fd);
			return true;
		}
	}
	return false;
}

static void forget(const posix_spawn_file_actions_t *acts)
{
	for (int i = 0; i < NOTED; i++) {
		const posix_spawn_file_actions_t *these = acts;

		atomic_compare_exchange_strong(&noted[i].of, &these, NULL);
	}
}

static void before_spawn(const posix_spawn_file_actions_t *acts)
{
	life_before_spawn();
	for (int i = 0; acts && i < NOTED; i++)
		if (atomic_load(&noted[i].of) == acts)
			life_given(atomic_load(&noted[i].fd));
}

HUT_EXPORT int posix_spawn_file_actions_init(posix_spawn_file_actions_t *acts)
{
	forget(acts);
	return NEXT(posix_spawn_file_actions_init)(acts);
}

HUT_EXPORT int posix_spawn_file_actions_destroy(posix_spawn_file_actions_t *acts)
{
	forget(acts);
	return NEXT(posix_spawn_file_actions_destroy)(acts);
}

HUT_EXPORT int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *acts, int fd, int to)
{
	int rc = NEXT(posix_spawn_file_actions_adddup2)(acts, fd, to);

	if (!rc && !note(acts, fd))
		life_given(fd); /* no place: at least what it is now */
	return rc;
}

HUT_EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *acts,
			   const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	before_spawn(acts);
	return NEXT(posix_spawn)(pid, path, acts, attr, argv, envp);
}

HUT_EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *acts,
			    const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	before_spawn(acts);
	return NEXT(posix_spawnp)(pid, file, acts, attr, argv, envp);
}

HUT_EXPORT int system(const char *command)
{
	life_before_spawn();
	return NEXT(system)(command);
}

HUT_EXPORT FILE *popen(const char *command, const char *mode)
{
	life_before_spawn();
	return NEXT(popen)(command, mode);
}
