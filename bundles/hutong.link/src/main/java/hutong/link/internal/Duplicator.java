// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import hutong.api.os.Fd;
import hutong.platform.OsException;
import hutong.platform.Processes;
import java.util.ArrayList;
import java.util.List;

/** Copies descriptors of this process. Thread-safe. */
final class Duplicator implements AutoCloseable {
  private final Processes processes;
  private final Fd self;

  /** Opens a handle of this process. */
  Duplicator(Processes processes) throws OsException {
    this.processes = processes;
    this.self = processes.pidfdOpen((int) ProcessHandle.current().pid());
  }

  /** Copies of all; none if one fails. */
  List<Fd> duplicate(List<? extends Fd> fds) throws OsException {
    List<Fd> copies = new ArrayList<>(fds.size());
    try {
      for (Fd fd : fds) {
        copies.add(processes.pidfdGetfd(self, fd.number()));
      }
      return copies;
    } catch (OsException e) {
      copies.forEach(Fd::close);
      throw e;
    }
  }

  @Override
  public void close() {
    self.close();
  }
}
