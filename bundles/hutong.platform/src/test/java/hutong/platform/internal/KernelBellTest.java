// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.os.Fd;
import hutong.platform.OsException;
import hutong.platform.Platform;
import java.util.List;
import jnr.ffi.Pointer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class KernelBellTest {
  private static final long FULL = -2; // the largest count that an eventfd takes by write()

  private static void fillAndMakeBlocking(Fd bell) throws OsException {
    Pointer p = Scratch.get(8);
    p.putLong(0, FULL);
    assertThat(LibC.INSTANCE.write(bell.number(), p, 8)).isEqualTo(8);
    LibC.check("F_SETFL", LibC.INSTANCE.fcntl(bell.number(), LibC.F_SETFL, LibC.O_RDWR));
  }

  @Test
  void shouldNotBlockOnAFullDoorbell() throws Exception {
    LinuxEvents events = new LinuxEvents();
    try (Fd bell = events.eventfd()) {
      fillAndMakeBlocking(bell);
      for (int i = 0; i < 1000; i++) { // more than the queue of completions holds
        events.ring(bell);
      }
      assertThat(events.drain(bell)).isNotZero();
      events.ring(bell);
      events.ring(bell);
      assertThat(events.drain(bell)).isEqualTo(2);
    } finally {
      events.close();
    }
  }

  @Test
  void shouldStillRingWhenClosed() throws Exception {
    LinuxEvents events = new LinuxEvents();
    try (Fd bell = events.eventfd()) {
      events.ring(bell);
      events.close();
      events.close();
      events.ring(bell);
      assertThat(events.drain(bell)).isEqualTo(2);
      fillAndMakeBlocking(bell);
      events.ring(bell);
      assertThat(events.drain(bell)).isEqualTo(FULL);
    }
  }

  @Test
  void shouldRefuseWhatIsNoDoorbell() throws Exception {
    LinuxEvents events = new LinuxEvents();
    List<Fd> pair = Platform.sockets().unixSeqpacketPair();
    assertThatThrownBy(() -> events.ring(pair.get(0))).isInstanceOf(OsException.class);
    pair.forEach(Fd::close);
    events.close();
  }
}
