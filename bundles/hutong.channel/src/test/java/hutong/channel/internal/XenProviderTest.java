// SPDX-License-Identifier: Apache-2.0
package hutong.channel.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.channel.ChannelProvider.Part;
import hutong.api.channel.SegmentException;
import hutong.api.channel.Segments;
import hutong.api.os.Fd;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.OsException;
import hutong.platform.Platform;
import hutong.platform.Xen;
import hutong.platform.abi.Abi;
import hutong.platform.abi.SegmentLayout;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class XenProviderTest {
  private static final int RING = 8192;
  private static final int OVER = 4096;
  private static final int PAGES = (int) (Segments.bytes(RING, OVER) / Abi.PAGE);
  private static final int ENOSPC = 28;

  private final Memory memory = Platform.memory();
  private final FakeXen xen = new FakeXen();
  private final XenProvider provider = new XenProvider(xen, memory, RING, OVER);

  /** Memfds in the place of the devices. */
  private final class FakeXen implements Xen {
    private final List<Fd> open = new ArrayList<>();
    private List<Integer> asked = List.of();
    private boolean eventsFail;

    private Fd memfd(int pages) throws OsException {
      Fd fd = memory.memfdCreate("device", (long) pages * Abi.PAGE, 0);
      open.add(fd);
      return fd;
    }

    private void failEvents() throws OsException {
      if (eventsFail) {
        throw new OsException("event channel", ENOSPC, "none left");
      }
    }

    private boolean holdsNothing() {
      return open.stream().noneMatch(Fd::isOpen);
    }

    @Override
    public boolean available() {
      return true;
    }

    @Override
    public Grant grant(int domid, int pages) throws OsException {
      return new Grant(memfd(pages), IntStream.range(100, 100 + pages).boxed().toList());
    }

    @Override
    public Fd map(int domid, List<Integer> references) throws OsException {
      asked = List.copyOf(references);
      return memfd(references.size());
    }

    @Override
    public EventChannel event(int domid) throws OsException {
      failEvents();
      return new EventChannel(memfd(1), 7);
    }

    @Override
    public EventChannel bind(int domid, int remotePort) throws OsException {
      failEvents();
      return new EventChannel(memfd(1), 1000 + remotePort);
    }

    @Override
    public SortedSet<Integer> domains() {
      return new TreeSet<>();
    }
  }

  @Test
  void grantsPagesWithAHeaderAndTellsAllInATicket() throws IOException {
    try (Part part = provider.share(2);
        Mapping map = memory.map(part.segment(), Abi.PAGE, false)) {
      assertThat(part.port()).isEqualTo(7);
      assertThat(part.ticket()).hasSize(1 + PAGES).startsWith(7, 100).endsWith(100 + PAGES - 1);
      assertThat(map.getInt(SegmentLayout.MAGIC)).isEqualTo(Abi.SEG_MAGIC);
      assertThat(map.getInt(SegmentLayout.RING_SIZE)).isEqualTo(RING);
      assertThat(map.getInt(SegmentLayout.OVER_SIZE)).isEqualTo(OVER);
    }
    assertThat(xen.holdsNothing()).isTrue();
  }

  @Test
  void takesWhatATicketNames() throws IOException {
    List<Integer> ticket = IntStream.rangeClosed(5, 5 + PAGES).boxed().toList();
    try (Part part = provider.take(1, RING, OVER, ticket, List.of())) {
      assertThat(part.port()).isEqualTo(1005);
      assertThat(xen.asked).isEqualTo(ticket.subList(1, 1 + PAGES));
    }
    assertThat(xen.holdsNothing()).isTrue();
  }

  @Test
  void refusesTicketsThatDoNotFitTheirSizes() {
    List<Integer> ticket = IntStream.rangeClosed(5, 5 + PAGES).boxed().toList();
    for (int[] sizes : new int[][] {{RING, 2 * OVER}, {-RING, OVER}, {RING + 1, OVER}, {0, 0}}) {
      assertThatThrownBy(() -> provider.take(1, sizes[0], sizes[1], ticket, List.of()))
          .isInstanceOf(SegmentException.class);
    }
    assertThatThrownBy(() -> provider.take(1, RING, OVER, List.of(), List.of()))
        .isInstanceOf(SegmentException.class);
    assertThat(xen.open).isEmpty();
  }

  @Test
  void keepsNothingWhenThereIsNoEventChannel() {
    xen.eventsFail = true;
    List<Integer> ticket = IntStream.rangeClosed(5, 5 + PAGES).boxed().toList();
    assertThatThrownBy(() -> provider.share(2)).isInstanceOf(IOException.class);
    assertThatThrownBy(() -> provider.take(1, RING, OVER, ticket, List.of()))
        .isInstanceOf(IOException.class);
    assertThat(xen.open).isNotEmpty();
    assertThat(xen.holdsNothing()).isTrue();
  }

  /** Else every connection would stay on TCP for want of memory, and nobody would know why. */
  @Test
  void refusesSizesOfWhichNoneCouldBeGranted() {
    new XenProvider(xen, memory, 8 << 20, 4 << 20);
    assertThatThrownBy(() -> new XenProvider(xen, memory, 8 << 20, 8 << 20))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("8192 pages");
  }

  @Test
  void isForRootAndPassesNoDescriptors() {
    assertThat(provider.rootOnly()).isTrue();
    assertThat(provider.passesDescriptors()).isFalse();
    assertThat(provider.name()).isEqualTo("xen");
  }
}
