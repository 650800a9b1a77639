// SPDX-License-Identifier: Apache-2.0
package hutong.channel.internal;

import hutong.api.channel.ChannelProvider;
import hutong.api.channel.SegmentException;
import hutong.api.channel.Segments;
import hutong.api.os.Fd;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.Xen;
import hutong.platform.abi.Abi;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * Channels between VMs of a Xen host: granted pages and an event channel (M5.3).
 *
 * <p>The VM that makes a segment grants its pages and makes the event channel; the other one maps
 * and binds. Both get descriptors of the kernel's devices and hand them to their programs. So the
 * kernel undoes it in the right order on every path: when a program ends, however it ends, its
 * mapping and its end of the event channel go; a grant ends when nobody here uses it and the peer
 * has unmapped it, until when it is put off.
 *
 * <p>Whoever holds gntdev may map whatever other VMs have granted to this one: only programs of
 * root get channels (decision 14).
 */
public final class XenProvider implements ChannelProvider {
  /** What libhutong_xen.so and the agents' messages carry: HUTONG_XEN_PAGES_MAX. */
  private static final int MOST_PAGES = 8192;

  private final Xen xen;
  private final Memory memory;
  private final int ringSize;
  private final int overSize;

  /**
   * Makes the provider.
   *
   * @param ringSize bytes of one ring, a power of two
   * @param overSize bytes of one overflow, a power of two; small, since pages are granted at once
   *     and few
   * @throws IllegalArgumentException if that is more than can be granted
   */
  public XenProvider(Xen xen, Memory memory, int ringSize, int overSize) {
    MemfdSegments.checkSizes(ringSize, overSize);
    if (pages(ringSize, overSize) > MOST_PAGES) {
      throw new IllegalArgumentException(
          "rings of "
              + ringSize
              + " and overflows of "
              + overSize
              + " bytes take more than "
              + MOST_PAGES
              + " pages");
    }
    this.xen = xen;
    this.memory = memory;
    this.ringSize = ringSize;
    this.overSize = overSize;
  }

  @Override
  public String name() {
    return "xen";
  }

  @Override
  public int ringSize() {
    return ringSize;
  }

  @Override
  public int overSize() {
    return overSize;
  }

  @Override
  public boolean passesDescriptors() {
    return false;
  }

  @Override
  public boolean rootOnly() {
    return true;
  }

  private static int pages(int ring, int over) {
    return (int) (Segments.bytes(ring, over) / Abi.PAGE);
  }

  @Override
  public Part share(int peerVm) throws IOException {
    Xen.Grant grant = xen.grant(peerVm, pages(ringSize, overSize));
    Xen.EventChannel event = null;
    boolean done = false;
    try {
      event = xen.event(peerVm);
      try (Mapping header = memory.map(grant.memory(), Abi.PAGE, true)) {
        MemfdSegments.fillIn(header, ringSize, overSize);
      }
      List<Integer> ticket = new ArrayList<>(grant.references().size() + 1);
      ticket.add(event.port());
      ticket.addAll(grant.references());
      done = true;
      return new Part(grant.memory(), event.device(), event.port(), ticket);
    } finally {
      if (!done) {
        grant.memory().close();
        if (event != null) {
          event.device().close();
        }
      }
    }
  }

  /** The header is looked at by the program: granted pages can be mapped once at a time. */
  @Override
  public Part take(int peerVm, int ring, int over, List<Integer> ticket, List<Fd> fds)
      throws IOException {
    MemfdSegments.verifySizes(ring, over);
    if (!fds.isEmpty() || ticket.size() != 1 + pages(ring, over)) {
      throw new SegmentException("a ticket of " + ticket.size() + " numbers");
    }
    Fd pages = xen.map(peerVm, ticket.subList(1, ticket.size()));
    boolean done = false;
    try {
      Xen.EventChannel event = xen.bind(peerVm, ticket.get(0));
      done = true;
      return new Part(pages, event.device(), event.port(), List.of());
    } finally {
      if (!done) {
        pages.close();
      }
    }
  }
}
