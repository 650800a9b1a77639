// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.datagram.ControlWriter;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.datagram.Seal;
import java.nio.ByteBuffer;

/** Writes a flow's datagrams into a batch, with the newest acknowledgement in each of them. */
final class FlowWriter {
  private final Seal seal;
  private final Sender sender;
  private final Receiver receiver;
  private final Epoch epoch;
  private final FlowCounters counters;
  private final ControlWriter items = new ControlWriter();
  private DatagramBatch batch;
  private int at;

  FlowWriter(Seal seal, Sender sender, Receiver receiver, Epoch epoch, FlowCounters counters) {
    this.seal = seal;
    this.sender = sender;
    this.receiver = receiver;
    this.epoch = epoch;
    this.counters = counters;
  }

  /** Writes the data datagram that the sender chooses (M3.A). */
  void writeData(DatagramBatch target, SendBuffer source, long now) {
    batch = target;
    at = batch.next();
    long sequence = sender.take(now);
    long offset = sender.offset(sequence);
    int length = sender.length(sequence);
    int flags = sender.requestsAck() ? Header.ACK_REQUESTED : 0;
    ByteBuffer bytes = batch.bytes();
    int data = at + Header.BYTES;
    source.copy(offset, length, bytes.limit(data + length).position(data));
    bytes.clear();
    finish((int) sequence, (int) offset, length, flags);
    receiver.headerSent();
  }

  /** Begins a control datagram. */
  ControlWriter begin(DatagramBatch target) {
    batch = target;
    at = batch.next();
    return items.begin(batch.bytes(), at + Header.BYTES);
  }

  /** Adds this end's announcement of the epoch. */
  void announce(int window) {
    counters.resumesOut++;
    items.resume(
        epoch.number(),
        epoch.localChannel(),
        epoch.firstSequence(),
        window,
        !epoch.announcing(),
        receiver.end(),
        receiver.consumed(),
        receiver.openRoom());
  }

  /** Completes a control datagram. */
  void finish(int flags) {
    finish(sender.nextSequence(), sender.nextIndex(), items.length(), flags | Header.CONTROL);
  }

  /** Completes a control datagram of exactly that size, MAC included. */
  void finishFull(int size) {
    items.padTo(size - Header.BYTES - seal.trailer());
    finish(0);
  }

  private void finish(int sequence, int index, int length, int flags) {
    Header.put(
        batch.bytes(),
        at,
        sequence,
        index,
        length,
        receiver.nextSequence(),
        (int) receiver.end(),
        flags,
        epoch.peerChannel());
    int total = seal.close(batch.bytes(), at, Header.BYTES + length);
    batch.add(total);
    counters.datagramsOut++;
    counters.bytesOut += total;
    if ((flags & Header.ACK_REQUESTED) != 0) {
      counters.ackRequestsOut++;
    }
  }
}
