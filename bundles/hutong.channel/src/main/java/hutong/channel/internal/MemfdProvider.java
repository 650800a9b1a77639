// SPDX-License-Identifier: Apache-2.0
package hutong.channel.internal;

import hutong.api.channel.ChannelProvider;
import hutong.api.channel.SegmentException;
import hutong.api.channel.Segments;
import hutong.api.os.Fd;
import java.io.IOException;
import java.util.List;

/** Channels between VMs that share a kernel: a sealed memfd, and each program's own eventfd. */
public final class MemfdProvider implements ChannelProvider {
  private static final int DESCRIPTORS = 2;

  private final Segments segments;

  /** Makes the provider. */
  public MemfdProvider(Segments segments) {
    this.segments = segments;
  }

  @Override
  public String name() {
    return "memfd";
  }

  @Override
  public int ringSize() {
    return segments.ringSize();
  }

  @Override
  public int overSize() {
    return segments.overSize();
  }

  @Override
  public boolean passesDescriptors() {
    return true;
  }

  @Override
  public boolean rootOnly() {
    return false;
  }

  @Override
  public Part share(int peerVm) throws IOException {
    return new Part(segments.allocate(), null, 0, List.of());
  }

  @Override
  public Part take(int peerVm, int ringSize, int overSize, List<Integer> ticket, List<Fd> fds)
      throws IOException {
    if (fds.size() != DESCRIPTORS || !ticket.isEmpty()) {
      throw new SegmentException(
          fds.size() + " descriptors and a ticket of " + ticket.size() + " numbers");
    }
    segments.verify(fds.get(0), ringSize, overSize);
    return new Part(fds.get(0), fds.get(1), 0, List.of());
  }
}
