// SPDX-License-Identifier: Apache-2.0
package hutong.channel.internal;

import hutong.api.AgentConfig;
import hutong.api.ReadyProbe;
import hutong.api.channel.Channel;
import hutong.api.channel.ChannelInfo;
import hutong.api.channel.ChannelProvider;
import hutong.api.channel.ChannelTable;
import hutong.api.channel.Channels;
import hutong.api.channel.Segments;
import hutong.api.channel.Usage;
import hutong.api.discovery.Member;
import hutong.api.discovery.Membership;
import hutong.api.os.Fd;
import hutong.platform.Memory;
import hutong.platform.Xen;
import java.io.IOException;
import java.security.SecureRandom;
import java.util.List;
import java.util.Optional;
import org.osgi.framework.BundleContext;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Reference;
import org.osgi.service.component.annotations.ReferenceCardinality;
import org.osgi.service.component.annotations.ReferencePolicy;
import org.osgi.service.component.annotations.ReferencePolicyOption;

/** The services of this bundle. Immediate: the table must not go when nobody looks at it. */
@Component(
    immediate = true,
    service = {
      ChannelTable.class,
      Segments.class,
      ChannelProvider.class,
      Channels.class,
      ReadyProbe.class
    },
    property = ReadyProbe.NAME + "=channel")
public final class ChannelComponent
    implements ChannelTable, Segments, ChannelProvider, Channels, ReadyProbe {
  private final Table table;
  private final MemfdSegments segments;
  private final ChannelProvider provider;

  @Reference(
      cardinality = ReferenceCardinality.OPTIONAL,
      policy = ReferencePolicy.DYNAMIC,
      policyOption = ReferencePolicyOption.GREEDY)
  private volatile Membership membership;

  /** Reads sizes and quota from the configuration. */
  @Activate
  public ChannelComponent(BundleContext context, @Reference Memory memory, @Reference Xen xen) {
    AgentConfig config = new AgentConfig(context::getProperty);
    segments =
        new MemfdSegments(
            memory,
            (int)
                config.number(
                    "hutong.ring.size", 256L << 10, MemfdSegments.MIN_SIZE, MemfdSegments.MAX_RING),
            (int)
                config.number(
                    "hutong.overflow.size",
                    4L << 20,
                    MemfdSegments.MIN_SIZE,
                    MemfdSegments.MAX_OVER));
    provider = provider(config, memory, xen);
    int channels = (int) config.number("hutong.quota.channels", 4096, 0, 65_535);
    Table.Quota quota =
        new Table.Quota(
            config.number("hutong.quota.bytes", 16L << 30, 0, Long.MAX_VALUE),
            channels,
            (int) config.number("hutong.quota.peer", channels, 0, 65_535));
    table = new Table(quota, new SecureRandom()::nextInt);
  }

  private ChannelProvider provider(AgentConfig config, Memory memory, Xen xen) {
    String wanted = config.text("hutong.channel.provider", "memfd");
    return switch (wanted) {
      case "memfd" -> new MemfdProvider(segments);
      case "xen" ->
          new XenProvider(
              xen,
              memory,
              segments.ringSize(),
              (int)
                  config.number(
                      "hutong.xen.overflow.size",
                      256L << 10,
                      MemfdSegments.MIN_SIZE,
                      MemfdSegments.MAX_OVER));
      default ->
          throw new IllegalArgumentException(
              "hutong.channel.provider must be memfd or xen and is " + wanted);
    };
  }

  @Override
  public Optional<Channel> reserve(int uid, int peerVm) {
    return table.reserve(uid, peerVm);
  }

  @Override
  public Optional<Channel> adopt(int number, int uid, int ringSize, int overSize) {
    return table.adopt(number, uid, ringSize, overSize);
  }

  @Override
  public Usage usage() {
    return table.usage();
  }

  @Override
  public List<ChannelInfo> list() {
    return table.list(this::peerName);
  }

  private String peerName(int domid) {
    Membership now = membership;
    if (now != null) {
      for (Member member : now.current().members()) {
        if (member.coResident() && member.domid() == domid) {
          return member.name();
        }
      }
    }
    return domid == 0 ? "?" : "domain " + domid;
  }

  // Sizes are those of what is shared with other VMs; segments for this VM alone are given theirs.

  @Override
  public int ringSize() {
    return provider.ringSize();
  }

  @Override
  public int overSize() {
    return provider.overSize();
  }

  @Override
  public String name() {
    return provider.name();
  }

  @Override
  public boolean passesDescriptors() {
    return provider.passesDescriptors();
  }

  @Override
  public boolean rootOnly() {
    return provider.rootOnly();
  }

  @Override
  public Part share(int peerVm) throws IOException {
    return provider.share(peerVm);
  }

  @Override
  public Part take(int peerVm, int ringSize, int overSize, List<Integer> ticket, List<Fd> fds)
      throws IOException {
    return provider.take(peerVm, ringSize, overSize, ticket, fds);
  }

  @Override
  public Fd allocate() throws IOException {
    return segments.allocate();
  }

  @Override
  public Fd allocate(int ringSize, int overSize) throws IOException {
    return segments.allocate(ringSize, overSize);
  }

  @Override
  public void verify(Fd segment, int ringSize, int overSize) throws IOException {
    segments.verify(segment, ringSize, overSize);
  }
}
