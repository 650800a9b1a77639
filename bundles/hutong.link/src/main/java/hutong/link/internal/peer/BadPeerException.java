// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

/**
 * What came over a connection was not what it must be; the connection ends. Anybody who can connect
 * can cause it, so it carries no stack trace.
 */
final class BadPeerException extends Exception {
  private static final long serialVersionUID = 1L;

  /** What to count it as. */
  enum Cause {
    /** Not of the form that it must have. */
    MALFORMED("link.peer.malformed"),
    /** Another version of the protocol. */
    VERSION("link.peer.version"),
    /** Not one that may connect, or not from where it may. */
    REFUSED("link.peer.refused"),
    /** A signature or an authentication tag is wrong. */
    UNAUTHENTIC("link.peer.unauthentic");

    private final String counter;

    Cause(String counter) {
      this.counter = counter;
    }

    String counter() {
      return counter;
    }
  }

  private final Cause why;

  BadPeerException(Cause why, String message) {
    super(message, null, false, false);
    this.why = why;
  }

  Cause why() {
    return why;
  }
}
