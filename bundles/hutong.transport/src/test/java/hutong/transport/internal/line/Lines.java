// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.intercept.Reason;
import hutong.api.link.PeerId;
import hutong.api.transport.Debt;
import hutong.api.transport.Holding;
import hutong.api.transport.LineProgram;
import hutong.api.transport.LineSpec;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.engine.DatagramBatch;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowCounters;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Random;
import java.util.Set;
import java.util.random.RandomGenerator;

/** Two programs, their agents' lines, the link and the wire between them, in simulated time. */
final class Lines {
  private static final int MTU = 600;
  private static final int UDP_HEADERS = 28;
  static final int RING = 8192;
  static final int OVER = 16384;

  private record Event(long at, long serial, Runnable what) implements Comparable<Event> {
    @Override
    public int compareTo(Event other) {
      int order = Long.compare(at, other.at);
      return order != 0 ? order : Long.compare(serial, other.serial);
    }
  }

  /** One end: program, agent, and what the agent works with. */
  final class End implements LineWorld {
    final Program program;
    LightLine line;
    final int number;
    private final Program.Tcp out;
    private final LineSpec spec;
    private final ByteBuffer page = ByteBuffer.allocate(1024);
    private boolean down;
    private boolean goneMeanwhile;
    int restarts;

    /** How often its agent has rung its program. */
    int rung;

    /** By wire, and number in the channel table. */
    private final Map<Integer, Flow> flows = new HashMap<>();

    private final DatagramBatch batch = new DatagramBatch(64, MTU);
    private final BitSet channels = new BitSet();

    /** Entries that other lines of its agent have. */
    final BitSet taken = new BitSet();

    End peer;
    boolean wanted = true;
    boolean removed;
    boolean wireDown;

    /** What it sends on these is lost; all of them are tried. */
    final Set<WireKind> dead = EnumSet.noneOf(WireKind.class);

    /** Its interface is not there. */
    boolean away;

    boolean hostile;

    /** What kept its line on TCP, one after the other. */
    final List<Reason> reasons = new ArrayList<>();

    /** What its interface carries, and what its agent knows of that. */
    int mtu = MTU;

    private int known = MTU;

    /** The version of its agent's messages. */
    int speaks = LineMessage.VERSION;

    /** Takes what this end sends, if it is there. */
    List<byte[]> captured;

    private long wakeAt = Long.MAX_VALUE;

    End(int number, Program.Tcp out, Program.Tcp in) {
      this.number = number;
      this.out = out;
      this.program = new Program(RING, OVER, number, 3 - number, out, in, this::ringAgent);
      this.spec =
          new LineSpec(
              new PeerId("host" + (3 - number), 1),
              number,
              3 - number,
              0,
              new byte[4],
              new byte[4],
              number,
              new LineProgram() {
                @Override
                public Holding socket() {
                  return goneMeanwhile ? Holding.GONE : out.finSent() ? Holding.SHUT : Holding.OPEN;
                }

                @Override
                public long sentByTcp() {
                  return 0;
                }

                @Override
                public long received() {
                  return 0;
                }

                @Override
                public boolean pay(Debt debt) {
                  return false;
                }
              });
      this.line = newLine();
      save(line);
    }

    private LightLine newLine() {
      return new LightLine(spec, program.memory, RING, OVER, () -> rung++, this);
    }

    @Override
    public void save(LightLine of) {
      page.clear();
      of.save(page);
      page.flip();
    }

    @Override
    public void reserve(int channel) {
      if (taken.get(Header.index(channel))) {
        throw new IllegalStateException("entry " + Header.index(channel) + " is another line's");
      }
      channels.set(Header.index(channel));
    }

    /** The agent is killed; another one takes over after a while. */
    void restart(long forNs) {
      if (down || removed) {
        return;
      }
      down = true;
      flows.clear();
      channels.clear();
      after(
          forNs,
          () -> {
            down = false;
            known = mtu;
            restarts++;
            line = newLine();
            line.restore(page.duplicate());
            save(line);
            step(line::onBell);
            if (goneMeanwhile) {
              step(line::onProgramGone);
            }
          });
    }

    /** What the flows dropped, for people. */
    String drops() {
      StringBuilder out = new StringBuilder("\n" + number + ":");
      for (Flow flow : flows.values()) {
        for (DropCause cause : DropCause.values()) {
          if (flow.counters().drops(cause) > 0) {
            out.append(' ').append(cause).append(' ').append(flow.counters().drops(cause));
          }
        }
        out.append(" epoch ").append(flow.epochNumber()).append(" acknowledged ");
        out.append(flow.acknowledged()).append(" sent ").append(flow.sent());
        out.append(" received ").append(flow.received());
      }
      return out.toString();
    }

    void programGone() {
      goneMeanwhile = true;
      step(line::onProgramGone);
    }

    private void ringAgent() {
      after(random.nextInt(50_000), () -> step(() -> line.onBell()));
    }

    /** A hostile agent says something else, now and then. */
    private byte[] spoiled(LineMessage message) {
      byte[] bytes = message.encode();
      for (int n = random.nextInt(3); n > 0; n--) {
        int at = 12 + random.nextInt(bytes.length - 12);
        bytes[at] = (byte) (random.nextBoolean() ? random.nextInt() : bytes[at] + 1);
      }
      return bytes;
    }

    /** The only flow, or null. */
    Flow flow() {
      return flows.values().stream().findFirst().orElse(null);
    }

    void step(Runnable what) {
      try {
        stepUnguarded(what);
      } catch (Hostile e) {
        if (!peer.hostile) {
          throw e;
        }
        line.cut();
        line.close();
        removed = true;
      }
    }

    private void stepUnguarded(Runnable what) {
      if (removed || down) {
        return;
      }
      what.run();
      if (line.pageDue()) {
        save(line);
      }
      line.produce(now);
      if (line.pageDue()) {
        save(line);
      }
      LineMessage message = line.message();
      if (message != null) {
        if (linkUp) {
          int life = linkLife;
          byte[] bytes = hostile ? spoiled(message) : message.encode();
          messageAt = Math.max(messageAt, now + random.nextInt(200_000));
          at(messageAt, () -> tell(bytes, life));
        } else {
          line.onLink();
          line.silent();
        }
      }
      if (line.finished(now)) {
        removed = true;
        line.close();
        return;
      }
      long due = line.deadline(now);
      if (due < wakeAt) {
        long time = Math.max(due, now + 1000);
        wakeAt = time;
        at(time, () -> wake(time));
      }
    }

    private void wake(long time) {
      if (wakeAt == time) { // else an earlier one has taken its place
        wakeAt = Long.MAX_VALUE;
        step(() -> line.onTime(now));
      }
    }

    private long messageAt;

    /** What this end has said comes to the other one, if the link has stood all the time. */
    private void tell(byte[] bytes, int life) {
      bytes[0] = (byte) speaks;
      LineMessage said = LineMessage.decode(bytes);
      if (said == null || linkLife != life) {
        return;
      }
      if (peer.removed && said.answerable()) {
        step(() -> line.onMessage(LineMessage.goodbye(said.peerNumber(), said.number())));
      } else {
        peer.step(() -> peer.line.onMessage(said));
      }
    }

    @Override
    public long now() {
      return now;
    }

    @Override
    public RandomGenerator random() {
      return random;
    }

    @Override
    public int reserve() {
      int index = channels.nextClearBit(1); // that of the last flow, as in TransportLoop
      channels.set(index);
      return Header.channel(index, random.nextInt() & 0xffff);
    }

    @Override
    public void release(int channel) {
      channels.clear(Header.index(channel));
    }

    /** Its interface carries datagrams of another size; the agent sees that some time later. */
    void mtu(int bytes) {
      mtu = bytes;
      after(1 + random.nextInt(200_000_000), this::lookAtMtu);
    }

    private void lookAtMtu() {
      if (known != mtu && !down) {
        known = mtu;
        step(() -> line.reconsider());
      }
    }

    @Override
    public int datagramBytes(WireKind kind, byte[] localAddress) {
      return away ? 0 : largest(kind);
    }

    private int largest(WireKind kind) {
      return kind == WireKind.UDP ? known - UDP_HEADERS : known;
    }

    @Override
    public FlowRoute attach(WireKind kind, LightLine owner, Flow flow) {
      flows.put(entry(kind, flow.localChannel()), flow);
      return new FlowRoute() {
        @Override
        public void produce(Flow of, long time) {
          do {
            batch.clear();
            of.produce(batch, time);
            for (int i = 0; i < batch.count() && fits(); i++) {
              carry(kind, batch.datagram(i));
            }
          } while (batch.full());
        }

        @Override
        public boolean fits() {
          return flow.maxDatagram() <= largest(kind);
        }

        @Override
        public void detach(Flow of) {
          flows.remove(entry(kind, of.localChannel()), of);
        }
      };
    }

    private int entry(WireKind kind, int channel) {
      return kind.ordinal() << 16 | Header.index(channel);
    }

    private void carry(WireKind kind, ByteBuffer datagram) {
      byte[] copy = new byte[datagram.remaining()];
      datagram.get(copy);
      if (captured != null) {
        captured.add(copy);
      }
      if (copy.length > mtu) {
        after(1, this::lookAtMtu); // the socket refuses it
      }
      if (wireDown
          || dead.contains(kind)
          || copy.length > Math.min(mtu, peer.mtu)
          || random.nextDouble() < loss) {
        return;
      }
      int times = random.nextDouble() < loss ? 2 : 1;
      for (int i = 0; i < times; i++) {
        byte[] bytes = copy.clone();
        if (random.nextDouble() < loss / 4) {
          bytes[random.nextInt(bytes.length)] ^= 1;
        }
        long extra = random.nextDouble() < loss ? random.nextInt(300_000) : 0;
        after(20_000 + extra, () -> peer.arrive(kind, bytes));
      }
    }

    /** A datagram comes, whoever has sent it. */
    void arrive(byte[] bytes) {
      arrive(WireKind.ETHERNET, bytes);
    }

    private void arrive(WireKind kind, byte[] bytes) {
      ByteBuffer datagram = ByteBuffer.wrap(bytes);
      Flow flow = flows.get(entry(kind, datagram.getInt(Header.CHANNEL)));
      if (flow != null && !removed) {
        step(() -> flow.receive(datagram, now));
      }
    }

    @Override
    public WireKind choose(LightLine owner, int ethernet, int udp) {
      return !wanted ? WireKind.NONE : ethernet > 0 ? WireKind.ETHERNET : WireKind.UDP;
    }

    @Override
    public Reason noWire() {
      return Reason.WIRE;
    }

    @Override
    public void noteReason(Reason reason) {
      reasons.add(reason);
    }

    @Override
    public PathChoice pathChoice() {
      return null;
    }

    @Override
    public boolean probed(WireKind kind, LightLine owner, int bytes) {
      return probed;
    }

    @Override
    public void noteProbed(WireKind kind, LightLine owner, int bytes) {}

    @Override
    public void noteLeft(WireKind kind, LightLine owner) {}

    @Override
    public void noteFailed(WireKind kind, LightLine owner) {}

    @Override
    public int window() {
      return number == 1 ? 64 : 128;
    }

    @Override
    public long waitNs() {
      return number == 1 ? 1_000_000 : 0;
    }

    @Override
    public void account(FlowCounters counters) {}

    @Override
    public boolean authenticate() {
      return authenticated && number == 1; // one that wants it is enough
    }

    @Override
    public long endPatienceNs() {
      return patience;
    }

    Program.Tcp tcpOut() {
      return out;
    }
  }

  final Random random;
  final End a;
  final End b;
  double loss;
  boolean probed = true;
  long patience = 10_000_000_000L;
  private int wireCuts;

  /** What is configured at one end, as of when its agent starts. */
  boolean authenticated;

  long now = 1;
  private final PriorityQueue<Event> events = new PriorityQueue<>();
  private long serial;
  private boolean linkUp = true;
  private int linkLife;

  Lines(long seed, boolean authenticated) {
    this.authenticated = authenticated;
    random = new Random(seed);
    Program.Tcp forth = new Program.Tcp();
    Program.Tcp back = new Program.Tcp();
    a = new End(1, forth, back);
    b = new End(2, back, forth);
    a.peer = b;
    b.peer = a;
    for (End end : Arrays.asList(a, b)) {
      end.step(end.line::onBell);
    }
  }

  void at(long time, Runnable what) {
    events.add(new Event(time, serial++, what));
  }

  void after(long delay, Runnable what) {
    at(now + delay, what);
  }

  /** The link between the agents fails, and comes back later. */
  void cutLink(long forNs) {
    if (!linkUp) {
      return;
    }
    linkUp = false;
    linkLife++;
    after(
        forNs,
        () -> {
          linkUp = true;
          for (End end : Arrays.asList(a, b)) {
            end.messageAt = now;
            end.step(() -> end.line.onLink());
          }
        });
  }

  /** The wire carries nothing for so long; a few times only, or no run would come to its end. */
  void cutWire(long forNs) {
    if (a.wireDown || wireCuts == 3) {
      return;
    }
    wireCuts++;
    a.wireDown = true;
    b.wireDown = true;
    after(
        forNs,
        () -> {
          a.wireDown = false;
          b.wireDown = false;
        });
  }

  /** Runs until nothing is left to do, or the time is up. */
  void run(long until, java.util.function.BooleanSupplier done) {
    while (!events.isEmpty() && events.peek().at <= until && !done.getAsBoolean()) {
      Event next = events.poll();
      now = Math.max(now, next.at);
      next.what.run();
    }
  }
}
