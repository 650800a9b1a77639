// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.server;

/**
 * Message types of the XenStore wire protocol (xen/io/xs_wire.h). The numbers are the constants'
 * positions.
 */
enum MessageType {
  CONTROL,
  DIRECTORY,
  READ,
  GET_PERMS,
  WATCH,
  UNWATCH,
  TRANSACTION_START,
  TRANSACTION_END,
  INTRODUCE,
  RELEASE,
  GET_DOMAIN_PATH,
  WRITE,
  MKDIR,
  RM,
  SET_PERMS,
  WATCH_EVENT,
  ERROR,
  IS_DOMAIN_INTRODUCED,
  RESUME,
  SET_TARGET,
  /** Removed from the protocol; kept for the numbering. */
  RESTRICT,
  RESET_WATCHES,
  DIRECTORY_PART;

  private static final MessageType[] TYPES = values();

  static MessageType of(int number) {
    return number >= 0 && number < TYPES.length ? TYPES[number] : null;
  }
}
