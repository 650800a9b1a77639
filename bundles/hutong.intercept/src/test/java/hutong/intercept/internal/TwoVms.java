// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.AgentConfig;
import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.link.AgentLink;
import hutong.api.os.Fd;
import hutong.api.telemetry.Counter;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.channel.internal.MemfdProvider;
import hutong.channel.internal.MemfdSegments;
import hutong.channel.internal.Table;
import hutong.platform.Events;
import hutong.platform.Platform;
import java.io.Closeable;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The intercepts of two VMs, with a link in memory, in one network namespace that has both VMs'
 * addresses.
 */
final class TwoVms implements AutoCloseable {
  static final String VM1 = "10.99.0.1";
  static final String VM2 = "10.99.0.2";
  static final String VM1_V6 = "fd99::1";
  static final String VM2_V6 = "fd99::2";
  static final String OTHER_HOST = "10.99.0.3";
  static final String OUTSIDE = "10.99.0.9";
  static final List<String> ADDRESSES =
      List.of(
          VM1 + "/32",
          VM2 + "/32",
          OTHER_HOST + "/32",
          OUTSIDE + "/32",
          VM1_V6 + "/128",
          VM2_V6 + "/128");
  static final int RING = 8192;
  static final int OVER = 16_384;
  static final Events EVENTS = Platform.events();

  final Map<String, AtomicLong> counts = new ConcurrentHashMap<>();
  final Table[] tables = new Table[2];
  final Intercept[] vms = new Intercept[2];
  final LivePolicy[] policies = new LivePolicy[2];
  private final List<Closeable> open = new ArrayList<>();

  TwoVms() throws IOException {
    for (int i = 0; i < 2; i++) {
      start(i);
    }
    join();
  }

  static String address(int i) {
    return "hutong-agent-" + (i + 1);
  }

  void start(int i) throws IOException {
    tables[i] = new Table(new Table.Quota(1L << 30, 100, 100), new Random(i)::nextInt);
    Intercept.Services services =
        new Intercept.Services(
            Platform.sockets(),
            Platform.processes(),
            EVENTS,
            Platform.memory(),
            tables[i],
            new MemfdProvider(new MemfdSegments(Platform.memory(), RING, OVER)),
            counters(),
            new Quiet());
    MemberTable.Settings settings = new MemberTable.Settings(65_536, 20, 50);
    if (policies[i] == null) {
      policies[i] = new LivePolicy(new AgentConfig(key -> null), null, text -> {});
    }
    vms[i] =
        new Intercept(
            services,
            new Intercept.Config(address(i), i + 1, settings, policies[i]),
            new RouteCheck());
    vms[i].start(() -> {});
    vms[i].membershipChanged(new MembershipSnapshot(1, members(i + 1)));
    FakeShim.until(vms[i]::listening);
  }

  /** Links both. */
  void join() {
    for (int i = 0; i < 2; i++) {
      vms[i].link(new MemoryLink(i + 1));
    }
    vms[0].onPeerUp(2);
    vms[1].onPeerUp(1);
  }

  static List<Member> members(int self) {
    return List.of(
        new Member(
            "PC1", 1, "VM1", "02:77:00:00:00:01", List.of(VM1, VM1_V6), "1", true, self == 1, ""),
        new Member(
            "PC1", 2, "VM2", "02:77:00:00:00:02", List.of(VM2, VM2_V6), "1", true, self == 2, ""),
        new Member(
            "PC2", 1, "VM3", "02:77:00:00:00:03", List.of(OTHER_HOST), "1", false, false, ""));
  }

  private final class MemoryLink implements AgentLink {
    private final int from;

    private MemoryLink(int from) {
      this.from = from;
    }

    @Override
    public boolean connected() {
      return true;
    }

    @Override
    public void send(int domid, byte[] payload, List<? extends Fd> fds) throws IOException {
      List<Fd> copies = new ArrayList<>();
      try (Fd self = Platform.processes().pidfdOpen(FakeShim.PID)) {
        for (Fd fd : fds) {
          copies.add(Platform.processes().pidfdGetfd(self, fd.number()));
        }
      }
      vms[domid - 1].onMessage(from, payload, copies);
    }
  }

  private Counters counters() {
    return new Counters() {
      @Override
      public Counter counter(String name) {
        AtomicLong value = counts.computeIfAbsent(name, n -> new AtomicLong());
        return new Counter() {
          @Override
          public void add(long n) {
            value.addAndGet(n);
          }

          @Override
          public long value() {
            return value.get();
          }
        };
      }

      @Override
      public Map<String, Long> snapshot() {
        Map<String, Long> out = new TreeMap<>();
        counts.forEach((name, value) -> out.put(name, value.get()));
        return out;
      }
    };
  }

  private static final class Quiet implements EventLog {
    @Override
    public void log(Level level, String source, String message) {}

    @Override
    public List<Event> recent() {
      return List.of();
    }
  }

  long count(String name) {
    AtomicLong value = counts.get(name);
    return value == null ? 0 : value.get();
  }

  /** A program of a VM. */
  FakeShim program(int i) throws IOException {
    FakeShim shim = new FakeShim(address(i));
    open.add(shim);
    return shim;
  }

  /** A connection: the connecting and the accepted end. */
  SocketChannel[] connect(String from, String to) throws IOException {
    try (ServerSocketChannel listener = ServerSocketChannel.open()) {
      listener.bind(new InetSocketAddress(to, 0));
      SocketChannel active = SocketChannel.open();
      open.add(active);
      active.bind(new InetSocketAddress(from, 0));
      active.connect(listener.getLocalAddress());
      SocketChannel passive = listener.accept();
      open.add(passive);
      return new SocketChannel[] {active, passive};
    }
  }

  /** Waits until the loop has done what was asked of it before. */
  void settle(int i) throws Exception {
    java.util.concurrent.CompletableFuture<Void> done =
        new java.util.concurrent.CompletableFuture<>();
    vms[i].loop().execute(() -> done.complete(null));
    done.get(30, java.util.concurrent.TimeUnit.SECONDS);
  }

  /** Descriptors of this JVM but for files, which it opens when it likes. */
  static List<String> openFds() throws IOException {
    List<String> out = new ArrayList<>();
    try (var links = Files.newDirectoryStream(Path.of("/proc/self/fd"))) {
      for (Path link : links) {
        String target = Files.isSymbolicLink(link) ? Files.readSymbolicLink(link).toString() : "/";
        if (!target.startsWith("/") || target.startsWith("/memfd:")) {
          out.add(target.replaceAll("socket:.*", "socket"));
        }
      }
    }
    out.sort(null);
    return out;
  }

  @Override
  public void close() throws IOException {
    for (Closeable closeable : open) {
      closeable.close();
    }
    for (Intercept vm : vms) {
      vm.close();
    }
  }
}
