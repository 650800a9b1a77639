// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

/**
 * A command cannot do what it was asked; the first line of the message says why, further ones help.
 */
final class CommandFailure extends RuntimeException {
  private static final long serialVersionUID = 1L;

  CommandFailure(String message) {
    super(message, null, false, false);
  }
}
