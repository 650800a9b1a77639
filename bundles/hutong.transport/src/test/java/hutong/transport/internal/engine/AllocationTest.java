// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.datagram.Seal;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.Random;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/** What the steady state allocates: nothing. */
class AllocationTest {
  private static final int MTU = 1500;
  private static final int DATAGRAMS = 100_000;

  /** Less than one object for a hundred datagrams: what the measurement itself may cost. */
  private static final long TOLERANCE_BYTES = DATAGRAMS / 100 * 16;

  private static long allocated() {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    return threads.getThreadAllocatedBytes(Thread.currentThread().getId());
  }

  /** A program's ring without any bytes: only offsets. */
  private static final class Counting implements SendBuffer, ReceiveBuffer {
    private final ByteBuffer source = ByteBuffer.allocateDirect(9000);
    private long end;
    private long published;
    private long freed;
    private long puts;

    @Override
    public long end() {
      return end;
    }

    @Override
    public long capacity() {
      return 1 << 20;
    }

    @Override
    public void copy(long offset, int length, ByteBuffer target) {
      target.put(source.limit(length).position(0));
    }

    @Override
    public void consumedByPeer(long offset) {
      freed = offset;
    }

    @Override
    public long consumed() {
      return published;
    }

    @Override
    public long size() {
      return 1 << 20;
    }

    @Override
    public void put(long offset, ByteBuffer data) {
      puts++;
    }

    @Override
    public void publish(long newEnd) {
      published = newEnd;
    }
  }

  private static Flow flow(Counting buffers, int local, int peer) {
    FlowStart start =
        new FlowStart(
            0,
            Header.channel(local, 1),
            Header.channel(peer, 1),
            0,
            0,
            128,
            1 << 20,
            0,
            1 << 20,
            0);
    return Flow.open(
        FlowSettings.reference(MTU).withoutProbes(),
        start,
        buffers,
        buffers,
        new Notes(),
        new Seal(null, null),
        new Random(1),
        0);
  }

  @Test
  @DisplayName("a stream with one datagram in 50 lost allocates nothing, and frees its send buffer")
  void shouldAllocateNothing() {
    Counting near = new Counting();
    Counting far = new Counting();
    Flow sender = flow(near, 1, 2);
    Flow receiver = flow(far, 2, 1);
    DatagramBatch batch = new DatagramBatch(64, MTU);
    long now = stream(sender, receiver, near, batch, 0, DATAGRAMS / 4);
    long before = allocated();
    stream(sender, receiver, near, batch, now, DATAGRAMS);
    assertThat(allocated() - before).isLessThan(TOLERANCE_BYTES);
    assertThat(sender.counters().resent).isGreaterThan(DATAGRAMS / 100);
    assertThat(far.puts).isGreaterThan(DATAGRAMS);
    assertThat(near.freed).isGreaterThan(near.end - (1 << 20));
  }

  private static long stream(
      Flow sender, Flow receiver, Counting near, DatagramBatch batch, long begin, int datagrams) {
    long now = begin;
    int count = 0;
    while (count < datagrams) {
      now += 10_000;
      near.end = sender.sent() + (1 << 18);
      batch.clear();
      sender.produce(batch, now);
      for (int i = 0; i < batch.count(); i++) {
        if (++count % 50 != 0) {
          receiver.receive(batch.datagram(i), now);
        }
      }
      batch.clear();
      receiver.produce(batch, now + 1000);
      for (int i = 0; i < batch.count(); i++) {
        sender.receive(batch.datagram(i), now + 2000);
      }
      if (batch.count() == 0) {
        now = Math.max(now, Math.min(now + 10_000_000, sender.nextDeadline(now)));
      }
    }
    return now;
  }

  @Test
  @DisplayName(
      "a flood for closed channels, from strangers and of old generations: counted, no more")
  void shouldCountFloods() {
    Counting buffers = new Counting();
    Flow open = flow(buffers, 1, 2);
    FlowTable table = new FlowTable();
    table.open(open, 42);
    DatagramBatch batch = new DatagramBatch(1, MTU);
    Seal seal = new Seal(null, null);
    ByteBuffer bytes = batch.bytes();
    flood(table, seal, bytes, DATAGRAMS / 4);
    long before = allocated();
    flood(table, seal, bytes, DATAGRAMS);
    assertThat(allocated() - before).isLessThan(TOLERANCE_BYTES);
    int all = DATAGRAMS + DATAGRAMS / 4;
    assertThat(table.drops(DropCause.NO_CHANNEL)).isEqualTo(all / 2);
    assertThat(table.drops(DropCause.WRONG_PEER)).isEqualTo(all / 4);
    assertThat(open.counters().drops(DropCause.WRONG_GENERATION)).isEqualTo(all / 4);
    assertThat(open.counters().drops()).isEqualTo(all / 4);
    assertThat(open.received()).isZero();
    table.close(open);
    bytes.clear().limit(132);
    assertThat(table.receive(bytes, 42, 0, 0)).isEqualTo(DropCause.NO_CHANNEL);
    assertThat(table.receive(bytes.clear().limit(31), 42, 0, 0)).isEqualTo(DropCause.TOO_SHORT);
  }

  private static void flood(FlowTable table, Seal seal, ByteBuffer bytes, int datagrams) {
    for (int i = 0; i < datagrams; i++) {
      int kind = i % 4;
      int channel =
          kind < 2
              ? Header.channel(2 + i % 60_000, i)
              : kind == 2 ? Header.channel(1, 1) : Header.channel(1, 2);
      bytes.clear();
      Header.put(bytes, 0, i, i, 100, 0, 0, 0, channel);
      seal.close(bytes, 0, 132);
      bytes.limit(132).position(0);
      table.receive(bytes, kind == 2 ? 41 : 42, 0, 0);
    }
  }
}
