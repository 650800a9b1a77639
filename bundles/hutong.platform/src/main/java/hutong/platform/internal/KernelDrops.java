// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import jnr.ffi.Memory;
import jnr.ffi.Pointer;

/**
 * What the kernel had to drop because a socket's memory was full. The socket says nothing of it by
 * itself: the sender finds out, and nobody else would know why.
 */
final class KernelDrops {
  private static final int SOL_SOCKET = 1;
  private static final int SO_MEMINFO = 55;
  private static final int SOL_PACKET = 263;
  private static final int PACKET_STATISTICS = 6;

  /** {@code struct tpacket_stats}: packets, and drops among them, since it was read last. */
  private static final int SIZEOF_STATISTICS = 8;

  private static final int STATISTICS_DROPS = 4;

  /** SK_MEMINFO_VARS words of which SK_MEMINFO_DROPS is the last: all drops. */
  private static final int SIZEOF_MEMINFO = 36;

  private static final int MEMINFO_DROPS = 32;

  private final Fd socket;
  private final boolean packet;
  private final Pointer value = Memory.allocateDirect(LibC.RUNTIME, SIZEOF_MEMINFO, true);
  private final Pointer length = Memory.allocateDirect(LibC.RUNTIME, 4, true);
  private int seen;

  /**
   * Of a socket.
   *
   * @param packet whether it is a packet socket
   */
  KernelDrops(Fd socket, boolean packet) {
    this.socket = socket;
    this.packet = packet;
  }

  /** How many since the last call; 0 where the kernel cannot tell. */
  long take() {
    length.putInt(0, packet ? SIZEOF_STATISTICS : SIZEOF_MEMINFO);
    int level = packet ? SOL_PACKET : SOL_SOCKET;
    int name = packet ? PACKET_STATISTICS : SO_MEMINFO;
    if (LibC.INSTANCE.getsockopt(socket.number(), level, name, value, length) < 0) {
      return 0;
    }
    if (packet) {
      return Integer.toUnsignedLong(value.getInt(STATISTICS_DROPS)); // read is taken
    }
    if (length.getInt(0) < SIZEOF_MEMINFO) {
      return 0;
    }
    int all = value.getInt(MEMINFO_DROPS);
    int now = all - seen; // it comes round
    seen = all;
    return Integer.toUnsignedLong(now);
  }
}
