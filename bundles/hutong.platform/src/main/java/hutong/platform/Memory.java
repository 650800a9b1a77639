// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;

/** Sealed anonymous files and their mappings. */
public interface Memory {
  /** No further seals may be set. */
  int SEAL_SEAL = 1;

  /** The file cannot shrink. */
  int SEAL_SHRINK = 2;

  /** The file cannot grow. */
  int SEAL_GROW = 4;

  /** The file cannot be written. */
  int SEAL_WRITE = 8;

  /** What a shared layout has: its size is fixed for ever. */
  int SEAL_SIZE = SEAL_SHRINK | SEAL_GROW | SEAL_SEAL;

  /**
   * Makes a zeroed memfd; pages are allocated when touched.
   *
   * @param name shown in /proc
   * @param size bytes
   * @param seals set once it has its size, for example {@link #SEAL_SIZE}
   */
  Fd memfdCreate(String name, long size, int seals) throws OsException;

  /** The seals of a descriptor; {@link OsException#EINVAL} when it cannot be sealed. */
  int seals(Fd fd) throws OsException;

  /** The file's inode number, by which it is the same file wherever it turns up. */
  long inode(Fd fd) throws OsException;

  /**
   * A descriptor of a file that another process has mapped and perhaps not open any more (proc(5),
   * map_files).
   *
   * @param pid the process
   * @param inode the file's inode number
   * @param name what its name in /proc/PID/maps begins with
   * @return the descriptor, or null if that process maps no such file
   */
  Fd openMapped(int pid, long inode, String name) throws OsException;

  /** The file's size in bytes. */
  long size(Fd fd) throws OsException;

  /**
   * Maps a file from its start. Check {@link #seals} and {@link #size} before: touching a page that
   * the file no longer has kills the JVM.
   *
   * @param fd the file
   * @param size bytes, below 2 GiB
   * @param writable whether it may be written
   */
  Mapping map(Fd fd, long size, boolean writable) throws OsException;

  /**
   * A new read-only descriptor of the same file: whoever gets it can neither write nor map it
   * writable.
   */
  Fd reopenReadOnly(Fd fd) throws OsException;
}
