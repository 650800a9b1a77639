// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

/** A datagram that is no list. Anybody on the link can cause it, so it carries no stack trace. */
final class MalformedListException extends Exception {
  private static final long serialVersionUID = 1L;

  MalformedListException(String message) {
    super(message, null, false, false);
  }
}
