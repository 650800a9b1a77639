// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.wire;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.platform.OsException;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowListener;
import hutong.transport.internal.engine.ReceiveBuffer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** When a UDP wire leaves the cutting to the kernel. */
class SegmentsTest {
  private static final int ENETUNREACH = 101;

  private final FakeSockets sockets = new FakeSockets();
  private long now = 1_000_000_000L;

  private int largestSegment(Wire wire, int refuses) {
    now += 1_000_000_000L;
    FakeSockets.Socket socket = sockets.last();
    socket.segments.clear();
    socket.refuses = refuses;
    Flow flow =
        Zeros.flow(
            wire.datagramBytes(),
            0x10001,
            Zeros.none(ReceiveBuffer.class),
            Zeros.none(FlowListener.class),
            now);
    wire.produce(flow, socket.target(new byte[4], 1), now);
    wire.flush();
    assertThat(socket.segments).isNotEmpty();
    return socket.segments.stream().mapToInt(i -> i).max().orElseThrow();
  }

  @Test
  void shouldCutAgainAfterARouteWasLost() throws OsException {
    try (Wire wire = Wire.udp(sockets, new byte[4], 1, 1500)) {
      assertThat(largestSegment(wire, ENETUNREACH)).isEqualTo(1472);
      assertThat(wire.refused()).isPositive();
      assertThat(largestSegment(wire, 0)).isEqualTo(1472);
      assertThat(wire.takeTooLarge()).isFalse();
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {OsException.EINVAL, OsException.EIO, OsException.EMSGSIZE})
  void shouldNotCutAgainWhereTheKernelCannot(int errno) throws OsException {
    try (Wire wire = Wire.udp(sockets, new byte[4], 1, 1500)) {
      assertThat(largestSegment(wire, errno)).isEqualTo(1472);
      assertThat(largestSegment(wire, 0)).isZero();
      assertThat(wire.takeTooLarge()).isEqualTo(errno == OsException.EMSGSIZE);
      assertThat(wire.takeTooLarge()).isFalse();
    }
  }
}
