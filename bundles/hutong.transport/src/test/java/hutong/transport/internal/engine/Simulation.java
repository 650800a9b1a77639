// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.datagram.Seal;
import java.nio.ByteBuffer;
import java.util.PriorityQueue;
import java.util.Random;

/** Two flows, their programs and the wire between them, in simulated time from one seed. */
final class Simulation {
  /** Something at a time; equal times keep their order. */
  private record Event(long at, long number, Runnable action) implements Comparable<Event> {
    @Override
    public int compareTo(Event other) {
      int order = Long.compare(at, other.at);
      return order != 0 ? order : Long.compare(number, other.number);
    }
  }

  /** What one end is like. */
  static final class Config {
    FlowSettings settings = FlowSettings.reference(1500);
    int sendRing = 1 << 18;
    int receiveRing = 1 << 18;
    long firstOffset;
    int firstSequence = 1;
    long toSend;
    int mostWrite = 1 << 16;
    int mostRead = 1 << 16;
    double pause;
    long pauseNs = 1_000_000;
    boolean instantReader;
    boolean countOnly;
    int batchSlots = 64;
  }

  /** One end: flow and program. */
  final class End {
    /** So much of a round trip is said to be spent at this end. */
    long hereNs;

    final Config config;
    final Notes notes =
        new Notes() {
          @Override
          public void resumed(int epoch, int localChannel, int peerChannel) {
            super.resumed(epoch, localChannel, peerChannel);
            in.forgetUnpublished();
          }
        };
    final WriterRing out;
    final ReaderRing in;
    final int channel;
    Flow flow;
    Path path = new Path();
    End peer;
    private final DatagramBatch batch;
    private final long firstOut;
    private final long firstIn;
    private long written;
    private boolean readerBusy;
    private boolean down;
    private long wakeAt = Long.MAX_VALUE;
    private int restarts;

    End(Config config, Config peer, int channel) {
      this.config = config;
      this.channel = channel;
      this.firstOut = config.firstOffset;
      this.firstIn = peer.firstOffset;
      this.out = new WriterRing(config.sendRing, channel, firstOut, config.countOnly);
      this.in = new ReaderRing(config.receiveRing, channel == 1 ? 2 : 1, firstIn, config.countOnly);
      this.batch = new DatagramBatch(config.batchSlots, config.settings.maxDatagram());
    }

    private void open() {
      flow = Flow.open(config.settings, start(), out, in, notes, new Seal(null, null), random, now);
    }

    private FlowStart start() {
      return new FlowStart(
          flow == null ? 0 : flow.epochNumber(),
          flow == null ? Header.channel(channel, 7) : flow.localChannel(),
          flow == null ? Header.channel(3 - channel, 7) : flow.peerChannel(),
          config.firstSequence,
          peer.config.firstSequence,
          peer.config.settings.window(),
          peer.config.sendRing,
          out.consumed(),
          flow == null ? out.consumed() + peer.config.receiveRing : out.consumed(),
          in.published());
    }

    /** The agent dies and another one goes on after a while; the rings stay. */
    void restartAfter(long ns) {
      down = true;
      at(
          now + ns,
          () -> {
            in.forgetUnpublished();
            flow =
                Flow.resume(
                    config.settings, start(), out, in, notes, new Seal(null, null), random, now);
            down = false;
            restarts++;
            endIfWritten();
            run();
          });
    }

    int restarts() {
      return restarts;
    }

    boolean isDown() {
      return down;
    }

    void program() {
      long count = Math.min(config.toSend - written, out.room());
      if (count > 0) {
        if (config.mostWrite < count) {
          count = 1 + random.nextInt(config.mostWrite);
        }
        out.write(count);
        written += count;
      }
      endIfWritten();
      if (!readerBusy && in.unread() > 0) {
        if (config.instantReader) {
          in.read(in.unread());
          return;
        }
        readerBusy = true;
        long wait = random.nextDouble() < config.pause ? random.nextLong(config.pauseNs) : 0;
        at(now + wait, this::readSome);
      }
    }

    private void endIfWritten() {
      if (written == config.toSend && !down) {
        flow.end(firstOut + config.toSend, now);
      }
    }

    private void readSome() {
      readerBusy = false;
      in.read(Math.min(in.unread(), 1 + random.nextInt(config.mostRead)));
      run();
    }

    /** Does all that is to be done now, and sees to it that the next deadline is kept. */
    void run() {
      if (down) {
        return;
      }
      int idle = 0;
      do {
        program();
        batch.clear();
        idle = flow.produce(batch, now) == 0 ? idle + 1 : 0;
        send();
        program();
        if (idle > 2) {
          throw new AssertionError("due at once, and nothing comes of it");
        }
      } while (flow.nextDeadline(now) <= now);
      long deadline = flow.nextDeadline(now);
      if (deadline != Long.MAX_VALUE && (deadline < wakeAt || wakeAt <= now)) {
        wakeAt = deadline;
        at(deadline, this::run);
      }
    }

    private void send() {
      for (int i = 0; i < batch.count(); i++) {
        ByteBuffer datagram = batch.datagram(i);
        byte[] bytes = new byte[datagram.remaining()];
        datagram.get(bytes);
        sentBytes += bytes.length;
        transmit(bytes);
        if (random.nextDouble() < path.duplication) {
          transmit(bytes.clone());
        }
      }
    }

    private void transmit(byte[] bytes) {
      if (path.loses(random, bytes.length, now)) {
        return;
      }
      long arrival = path.arrival(random, bytes.length, now);
      if (arrival < 0) {
        return;
      }
      if (random.nextDouble() < path.corruption) {
        bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
      }
      at(
          arrival,
          () -> {
            if (!peer.down) {
              peer.flow.receive(ByteBuffer.wrap(bytes), now, peer.hereNs);
              peer.run();
            }
          });
    }

    boolean done() {
      return notes.endDelivered == firstOut + config.toSend
          && notes.ended == firstIn + peer.config.toSend
          && in.consumed() == notes.ended;
    }
  }

  final Random random;
  final End a;
  final End b;
  long now;
  long sentBytes;
  private final PriorityQueue<Event> events = new PriorityQueue<>();
  private long number;

  Simulation(long seed, Config configA, Config configB) {
    random = new Random(seed);
    now = 1 + random.nextInt(1000);
    a = new End(configA, configB, 1);
    b = new End(configB, configA, 2);
    a.peer = b;
    b.peer = a;
    a.open();
    b.open();
  }

  void at(long time, Runnable action) {
    events.add(new Event(time, number++, action));
  }

  void begin() {
    at(now, a::run);
    at(now, b::run);
  }

  /** Runs until that time, or until nothing is left to happen. */
  void runUntil(long time) {
    while (!events.isEmpty() && events.peek().at() <= time) {
      Event event = events.poll();
      now = event.at();
      event.action().run();
    }
    now = Math.max(now, Math.min(time, now));
  }

  /** Runs until both streams are delivered and ended. */
  void runToEnd(long within) {
    long limit = now + within;
    begin();
    while (!(a.done() && b.done())) {
      Event event = events.poll();
      if (event == null || event.at() > limit) {
        throw new AssertionError("not done after " + within + " ns: " + this);
      }
      now = event.at();
      event.action().run();
    }
  }

  @Override
  public String toString() {
    return describe("a", a) + "; " + describe("b", b);
  }

  private static String describe(String name, End end) {
    return name
        + ": wrote "
        + end.written
        + " of "
        + end.config.toSend
        + ", acknowledged "
        + end.flow.acknowledged()
        + ", sent "
        + end.flow.sent()
        + ", received "
        + end.flow.received()
        + ", unread "
        + end.in.unread()
        + ", consumed by peer "
        + end.out.consumed()
        + " "
        + end.notes.said;
  }
}
