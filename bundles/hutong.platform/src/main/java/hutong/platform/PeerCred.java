// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

/**
 * Who connected a Unix socket, as the kernel knows it.
 *
 * @param pid process id, in this process' pid namespace; 0 when it is outside
 * @param uid user id
 * @param gid group id
 */
public record PeerCred(int pid, int uid, int gid) {}
