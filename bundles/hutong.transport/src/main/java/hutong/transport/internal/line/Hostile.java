// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

/** A program, or a peer's agent, has said what cannot be (architecture, decision 8). */
final class Hostile extends RuntimeException {
  private static final long serialVersionUID = 1L;

  Hostile(String what) {
    super(what, null, false, false);
  }
}
