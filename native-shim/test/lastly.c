/* SPDX-License-Identifier: Apache-2.0 */
/* lastly.c - liblastly.so, for the conformance suite: a library that has something to do when the process ends. */
void (*lastly)(void);

__attribute__((destructor)) static void end(void)
{
	if (lastly)
		lastly();
}
