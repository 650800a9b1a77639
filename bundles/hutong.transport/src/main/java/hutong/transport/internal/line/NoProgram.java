// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.transport.Debt;
import hutong.api.transport.Holding;
import hutong.api.transport.LineProgram;

/** The program of a line for which nobody speaks any more. */
enum NoProgram implements LineProgram {
  /** The only one. */
  HERE;

  @Override
  public Holding socket() {
    return Holding.GONE;
  }

  @Override
  public long sentByTcp() {
    return 0;
  }

  @Override
  public long received() {
    return 0;
  }

  @Override
  public boolean pay(Debt debt) {
    return false;
  }
}
