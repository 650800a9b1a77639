// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.transport.Debt;
import hutong.api.transport.Holding;
import hutong.api.transport.LineProgram;
import java.util.function.Supplier;

/**
 * The program of a connection between hosts, for the transport.
 *
 * @param cookie of its socket
 * @param holding what has become of the socket
 * @param end its slot of the program's pool
 */
record FarProgram(long cookie, Supplier<Holding> holding, ProgramEnd end) implements LineProgram {
  @Override
  public Holding socket() {
    return holding.get();
  }

  @Override
  public long sentByTcp() {
    return end.sentByTcp();
  }

  @Override
  public long received() {
    return end.received();
  }

  @Override
  public boolean pay(Debt debt) {
    return end.pay(cookie, debt);
  }
}
