// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;

/** Other processes and their descriptors. */
public interface Processes {
  /** A handle of a process; {@link OsException#ESRCH} when there is none. */
  Fd pidfdOpen(int pid) throws OsException;

  /**
   * A copy of another process' descriptor.
   *
   * @param pidfd from {@link #pidfdOpen}
   * @param fd the number there; {@link OsException#EBADF} when it is not open
   */
  Fd pidfdGetfd(Fd pidfd, int fd) throws OsException;

  /**
   * Pulls a socket from another process, reads its facts and drops the copy at once: a copy kept
   * would hold back the FIN (rule 19).
   *
   * @param pid the process
   * @param fd the descriptor's number there
   */
  SocketFacts inspectSocket(int pid, int fd) throws OsException;

  /** Another descriptor of this process for the same open file; close-on-exec. */
  Fd duplicate(Fd fd) throws OsException;

  /**
   * What {@code /proc/self/fd} says about a descriptor, for example {@code anon_inode:[eventfd]}.
   */
  String describe(Fd fd) throws OsException;
}
