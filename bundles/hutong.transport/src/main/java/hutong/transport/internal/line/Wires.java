// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.link.PeerId;
import hutong.api.transport.LineSpec;
import hutong.platform.BatchSockets;
import hutong.platform.EventLoop;
import hutong.platform.OsException;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowSettings;
import hutong.transport.internal.wire.Wire;
import java.net.NetworkInterface;
import java.net.SocketException;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Consumer;
import java.util.function.IntUnaryOperator;

/**
 * The wires of an agent: one packet socket, and a UDP socket for each address of the VM that is
 * used; and what is known of them towards each peer (D5). One thread.
 */
final class Wires implements AutoCloseable {
  /** How long a wire that did not answer is left alone. */
  static final long FAILED_NS = 5_000_000_000L;

  /** How often the interface is asked for its MTU while flows use it ... */
  private static final long LOOK_NS = 1_000_000_000L;

  /** ... and when it refuses datagrams for their size. */
  private static final long LOOK_AGAIN_NS = 20_000_000L;

  private static final int USUAL_MTU = 1500;
  private static final int MOST_BYTES = 65_507;
  private static final WireKind[] IN_ORDER = {WireKind.ETHERNET, WireKind.UDP};

  /** How long it is believed that a wire carries what it has carried in the probes. */
  static final long PROBED_NS = 60_000_000_000L;

  /** A wire towards a peer; by UDP each pair of addresses may have a path of its own. */
  private record Way(WireKind kind, PeerId peer, String addresses) {
    static Way of(WireKind kind, LineSpec spec) {
      return new Way(
          kind,
          spec.peer(),
          kind == WireKind.UDP
              ? Arrays.toString(spec.localAddress()) + Arrays.toString(spec.peerAddress())
              : "");
    }
  }

  /** Probes of that size were answered; true until some time. */
  private record Probed(int bytes, long until) {}

  private final EventLoop loop;
  private final BatchSockets sockets;
  private final LightSettings settings;
  private final Consumer<WirePort> onInput;
  private final WirePort.Touched touched;
  private final Trouble trouble;
  private final WirePort ethernet;
  private final Map<String, WirePort> udp = new HashMap<>();
  private final Map<Way, Long> failedUntil = new HashMap<>();
  private final Map<Way, Probed> probed = new HashMap<>();
  private final IntUnaryOperator mtuNow;
  private final Runnable onMtu;
  private int mtu;
  private long lookedAt;
  private boolean looks;

  /**
   * Wires that are opened when they are first asked for.
   *
   * @param onInput told which of them has input
   * @param touched told of lines that input was for
   * @param trouble takes what was dropped
   * @param onMtu told that datagrams have another size from now on, in the middle of anything
   */
  Wires(
      EventLoop loop,
      BatchSockets sockets,
      LightSettings settings,
      Consumer<WirePort> onInput,
      WirePort.Touched touched,
      Trouble trouble,
      Runnable onMtu) {
    this(
        loop,
        sockets,
        settings,
        onInput,
        touched,
        trouble,
        onMtu,
        known -> mtuOf(settings.interfaceName(), known));
  }

  /**
   * The same.
   *
   * @param mtuNow what the interface carries now; given what it is known to have carried
   */
  Wires(
      EventLoop loop,
      BatchSockets sockets,
      LightSettings settings,
      Consumer<WirePort> onInput,
      WirePort.Touched touched,
      Trouble trouble,
      Runnable onMtu,
      IntUnaryOperator mtuNow) {
    this.loop = loop;
    this.sockets = sockets;
    this.settings = settings;
    this.onInput = onInput;
    this.touched = touched;
    this.trouble = trouble;
    this.onMtu = onMtu;
    this.mtuNow = mtuNow;
    this.mtu = mtuNow.applyAsInt(USUAL_MTU);
    this.lookedAt = System.nanoTime();
    this.ethernet = port(this::openEthernet);
  }

  private WirePort port(WirePort.Opener opener) {
    WirePort[] self = new WirePort[1];
    self[0] = new WirePort(loop, opener, bits -> onInput.accept(self[0]), touched, trouble);
    return self[0];
  }

  private Wire openEthernet() throws OsException {
    return Wire.ethernet(sockets, settings.interfaceName(), settings.etherType(), mtu);
  }

  private static int mtuOf(String interfaceName, int known) {
    try {
      NetworkInterface found = NetworkInterface.getByName(interfaceName);
      return found == null ? known : Math.min(found.getMTU(), MOST_BYTES);
    } catch (SocketException e) {
      return known;
    }
  }

  /**
   * Opens the sockets anew where the interface carries datagrams of another size than they do. What
   * was cut for the old size is not cut anew (D4): such flows leave the wire, or begin an epoch.
   *
   * @param patienceNs not if that was looked at so short a time ago
   */
  private void followMtu(long patienceNs) {
    long now = System.nanoTime();
    if (now - lookedAt < patienceNs) {
      return;
    }
    lookedAt = now;
    int found = mtuNow.applyAsInt(mtu);
    if (found != mtu) {
      mtu = found;
      ethernet.renew();
      udp.values().forEach(WirePort::renew);
      onMtu.run();
    }
  }

  /** Who only receives is not refused anything: while there are flows the interface is asked. */
  private void lookLater() {
    if (looks || !isUsed()) {
      return;
    }
    try {
      loop.schedule(
          Duration.ofNanos(LOOK_NS),
          () -> {
            looks = false;
            followMtu(LOOK_AGAIN_NS);
            lookLater();
          });
      looks = true;
    } catch (RejectedExecutionException e) {
      // the loop is being closed
    }
  }

  private boolean isUsed() {
    boolean used = ethernet.isUsed();
    for (WirePort port : udp.values()) {
      used |= port.isUsed();
    }
    return used;
  }

  /** The wire of that kind, or null if it is not configured. */
  private WirePort port(WireKind kind, byte[] local) {
    return wants(kind) ? any(kind, local) : null;
  }

  /** Whether it may be chosen. */
  boolean wants(WireKind kind) {
    return settings.wire() == WireKind.NONE || settings.wire() == kind;
  }

  private WirePort any(WireKind kind, byte[] local) {
    if (kind == WireKind.NONE) {
      return null;
    }
    if (kind == WireKind.ETHERNET) {
      return ethernet;
    }
    return udp.computeIfAbsent(
        Arrays.toString(local),
        key -> port(() -> Wire.udp(sockets, local, settings.udpPort(), mtu)));
  }

  /** See {@link LineWorld#datagramBytes}. */
  int datagramBytes(WireKind kind, byte[] local) {
    followMtu(LOOK_NS);
    WirePort port = port(kind, local);
    return port == null ? 0 : port.datagramBytes();
  }

  /** See {@link LineWorld#attach}. */
  LineWorld.FlowRoute attach(WireKind kind, LightLine line, Flow flow) {
    LineSpec spec = line.spec();
    // also one that is configured no more: a round of before the restart ends on it
    WirePort port = any(kind, spec.localAddress());
    if (port == null) {
      throw new Hostile("a round without a wire");
    }
    LineWorld.FlowRoute route =
        kind == WireKind.UDP
            ? port.attach(line, flow, spec.peerAddress(), settings.udpPort())
            : port.attach(line, flow, macOf(spec), 0);
    lookLater();
    return route;
  }

  private static byte[] macOf(LineSpec spec) {
    byte[] mac = new byte[6];
    for (int i = 0; i < mac.length; i++) {
      mac[i] = (byte) (spec.peerMac() >>> (40 - 8 * i));
    }
    return mac;
  }

  /** The first wire that both ends have and that has not failed lately. */
  WireKind choose(LineSpec spec, int peerEthernetBytes, int peerUdpBytes, long now) {
    for (WireKind kind : IN_ORDER) {
      int theirs = kind == WireKind.ETHERNET ? peerEthernetBytes : peerUdpBytes;
      Long until = failedUntil.get(Way.of(kind, spec));
      boolean failed = until != null && until - now > 0;
      if (theirs >= FlowSettings.LEAST_DATAGRAM
          && !failed
          && datagramBytes(kind, spec.localAddress()) >= FlowSettings.LEAST_DATAGRAM) {
        return kind;
      }
    }
    return WireKind.NONE;
  }

  boolean probed(WireKind kind, LineSpec spec, int bytes, long now) {
    Probed known = probed.get(Way.of(kind, spec));
    return known != null && known.bytes() >= bytes && known.until() - now > 0;
  }

  void noteProbed(WireKind kind, LineSpec spec, int bytes, long now) {
    Way way = Way.of(kind, spec);
    probed.put(way, new Probed(bytes, now + PROBED_NS));
    failedUntil.remove(way);
  }

  /** A wire is to be probed again before it is used the next time. */
  void noteLeft(WireKind kind, LineSpec spec) {
    probed.remove(Way.of(kind, spec));
  }

  void noteFailed(WireKind kind, LineSpec spec, long now) {
    noteLeft(kind, spec);
    failedUntil.put(Way.of(kind, spec), now + FAILED_NS);
  }

  /** Nothing needs to be known of the wires to that peer any more. */
  void forget(PeerId peer) {
    failedUntil.keySet().removeIf(way -> way.peer().equals(peer));
    probed.keySet().removeIf(way -> way.peer().equals(peer));
  }

  /**
   * When the next of the wires that failed may be tried again; {@link Long#MAX_VALUE}: none has.
   */
  long retryAt(long now) {
    long first = Long.MAX_VALUE;
    for (long until : failedUntil.values()) {
      if (until - now > 0) {
        first = Math.min(first, until);
      }
    }
    return first;
  }

  /** Takes some of what has come by each of them; see {@link WirePort#receive}. */
  boolean receive(long now) {
    boolean more = ethernet.receive(now);
    for (WirePort port : udp.values()) {
      more |= port.receive(now);
    }
    return more;
  }

  /** Sends what was taken from the flows. */
  void flush() {
    boolean fine = ethernet.flush();
    for (WirePort port : udp.values()) {
      fine &= port.flush();
    }
    if (!fine) {
      followMtu(LOOK_AGAIN_NS);
    }
  }

  @Override
  public void close() {
    ethernet.close();
    udp.values().forEach(WirePort::close);
  }
}
