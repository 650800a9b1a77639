// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.platform.internal.LinuxBatchSockets;
import hutong.platform.internal.LinuxEvents;
import hutong.platform.internal.LinuxMemory;
import hutong.platform.internal.LinuxProcesses;
import hutong.platform.internal.LinuxSockets;

/** The services without OSGi, for unit tests. Bundles use the services of the same types. */
public final class Platform {
  private Platform() {}

  /** Sockets. */
  public static Sockets sockets() {
    return new LinuxSockets();
  }

  /** Sockets that move many datagrams at once. */
  public static BatchSockets batchSockets() {
    return new LinuxBatchSockets();
  }

  /** Processes. */
  public static Processes processes() {
    return new LinuxProcesses();
  }

  /** Memory. */
  public static Memory memory() {
    return new LinuxMemory();
  }

  /** Events. */
  public static Events events() {
    return new LinuxEvents();
  }
}
