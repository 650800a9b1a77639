// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

/** What the kernel says of the program's own TCP socket. */
public enum Holding {
  /** It can send. */
  OPEN,
  /** Its FIN was sent, or it was reset; somebody holds it still. */
  SHUT,
  /** Nobody holds it, or the kernel knows it no more. */
  GONE
}
