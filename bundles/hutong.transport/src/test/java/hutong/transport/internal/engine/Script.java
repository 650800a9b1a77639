// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.transport.internal.datagram.Authenticator;
import hutong.transport.internal.datagram.Control;
import hutong.transport.internal.datagram.ControlReader;
import hutong.transport.internal.datagram.ControlWriter;
import hutong.transport.internal.datagram.Datagram;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.datagram.Seal;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;

/** One flow whose peer is a script: frames in, frames out, at stated times. */
final class Script {
  static final int LOCAL = Header.channel(5, 0x1111);
  static final int PEER = Header.channel(9, 0x2222);
  static final int FIRST_OUT = 1000;
  static final int FIRST_IN = 2000;
  static final int RING = 1 << 18;
  static final long OUT_SEED = 1;
  static final long IN_SEED = 2;

  /** A frame that went out, all eight fields and what its items say. */
  record Frame(
      int sequence,
      int index,
      int length,
      int ackSequence,
      int ackIndex,
      boolean asks,
      boolean control,
      int channel,
      int bytes,
      String items) {
    @Override
    public String toString() {
      return (control ? "control" : "data " + sequence + " @" + index)
          + " +"
          + length
          + (asks ? " asks" : "")
          + items;
    }
  }

  final WriterRing out;
  final ReaderRing in;
  final Notes notes = new Notes();
  final DatagramBatch batch;
  final Flow flow;
  final Random random = new Random(4);
  long now = 1_000_000_000L;
  int peerAckSequence = FIRST_OUT;
  int peerAckIndex;
  private final long outOffset;
  private final Seal peerSeal;

  Script(FlowSettings settings) {
    this(settings, 0, 0, RING, RING);
  }

  Script(FlowSettings settings, long outOffset, long inOffset, int inRing, int peerRing) {
    this(settings, outOffset, inOffset, inRing, peerRing, null, null, false);
  }

  Script(
      FlowSettings settings,
      long outOffset,
      long inOffset,
      int inRing,
      int peerRing,
      Authenticator signer,
      Authenticator verifier,
      boolean resume) {
    this.outOffset = outOffset;
    out = new WriterRing(RING, OUT_SEED, outOffset, false);
    in = new ReaderRing(inRing, IN_SEED, inOffset, false);
    batch = new DatagramBatch(600, settings.maxDatagram());
    peerAckIndex = (int) outOffset;
    peerSeal = new Seal(verifier, signer);
    FlowStart start =
        new FlowStart(
            3,
            LOCAL,
            PEER,
            FIRST_OUT,
            FIRST_IN,
            128,
            RING,
            outOffset,
            outOffset + peerRing,
            inOffset);
    Seal seal = new Seal(signer, verifier);
    flow =
        resume
            ? Flow.resume(settings, start, out, in, notes, seal, random, now)
            : Flow.open(settings, start, out, in, notes, seal, random, now);
  }

  /** All that goes out now. */
  List<Frame> frames() {
    batch.clear();
    flow.produce(batch, now);
    List<Frame> frames = new ArrayList<>();
    Datagram datagram = new Datagram();
    for (int i = 0; i < batch.count(); i++) {
      ByteBuffer bytes = batch.datagram(i);
      int size = bytes.remaining();
      assertThat(datagram.read(bytes, peerSeal)).isEqualTo(DropCause.NONE);
      if (!datagram.control()) {
        ByteBuffer data = datagram.data(datagram.length());
        long offset = outOffset + (datagram.index() - (int) outOffset);
        while (data.hasRemaining()) {
          assertThat(data.get()).isEqualTo(Stream.at(OUT_SEED, offset++));
        }
      }
      frames.add(
          new Frame(
              datagram.sequence(),
              datagram.index(),
              datagram.length(),
              datagram.ackSequence(),
              datagram.ackIndex(),
              datagram.ackRequested(),
              datagram.control(),
              datagram.channel(),
              size,
              datagram.control() ? items(datagram) : ""));
    }
    return frames;
  }

  private static String items(Datagram datagram) {
    ControlReader reader = new ControlReader();
    assertThat(reader.read(datagram)).isTrue();
    StringBuilder text = new StringBuilder();
    if (reader.has(Control.CREDIT)) {
      text.append(" credit ").append(reader.consumed()).append('/').append(reader.room());
    }
    if (reader.has(Control.MISSING)) {
      text.append(" missing");
      for (int i = 0; i < reader.rangeCount(); i++) {
        text.append(' ').append(reader.rangeFirst(i)).append('+').append(reader.rangeLength(i));
      }
      text.append(" of ").append(reader.seen());
    }
    if (reader.has(Control.ASK)) {
      text.append(" ask ").append(reader.number(Control.ASK));
    }
    if (reader.has(Control.ECHO)) {
      text.append(" echo ").append(reader.number(Control.ECHO));
    }
    if (reader.has(Control.END)) {
      text.append(" end ").append(reader.offset(Control.END));
    }
    if (reader.has(Control.END_ACK)) {
      text.append(" endAck ").append(reader.offset(Control.END_ACK));
    }
    if (reader.has(Control.PROBE)) {
      text.append(" probe ").append(reader.number(Control.PROBE));
    }
    if (reader.has(Control.PROBE_ANSWER)) {
      text.append(" answer ").append(reader.number(Control.PROBE_ANSWER));
      text.append(" of ").append(reader.probeSize());
    }
    if (reader.has(Control.RESUME)) {
      text.append(" resume ").append(reader.resumeEpoch());
      text.append(reader.resumeAnswer() ? " answer" : "");
      text.append(" wanted ").append(reader.resumeWanted());
    }
    return text.toString();
  }

  /** Everything that goes out until a time passes, with the flow's deadlines kept. */
  List<String> until(long time) {
    List<String> texts = new ArrayList<>();
    frames().forEach(f -> texts.add(f.toString()));
    while (flow.nextDeadline(now) <= time) {
      now = Math.max(now, flow.nextDeadline(now));
      frames().forEach(f -> texts.add(f.toString()));
    }
    now = time;
    return texts;
  }

  /** The program writes. */
  void write(long count) {
    out.write(count);
  }

  /** A data frame of the peer, with the right bytes. */
  ByteBuffer data(int sequence, long offset, int length, int flags) {
    ByteBuffer bytes = ByteBuffer.allocate(Header.BYTES + length + Authenticator.BYTES);
    for (int i = 0; i < length; i++) {
      bytes.put(Header.BYTES + i, Stream.at(IN_SEED, offset + i));
    }
    Header.put(
        bytes,
        0,
        sequence,
        (int) offset,
        length,
        peerAckSequence,
        peerAckIndex,
        flags,
        flow.localChannel());
    return seal(bytes, length);
  }

  /** A control frame of the peer. */
  ByteBuffer control(int nextSequence, int flags, Consumer<ControlWriter> items) {
    return controlTo(flow.localChannel(), nextSequence, flags, items);
  }

  ByteBuffer controlTo(int channel, int nextSequence, int flags, Consumer<ControlWriter> items) {
    ByteBuffer bytes = ByteBuffer.allocate(9000);
    ControlWriter writer = new ControlWriter().begin(bytes, Header.BYTES);
    items.accept(writer);
    int length = writer.length();
    Header.put(
        bytes,
        0,
        nextSequence,
        0,
        length,
        peerAckSequence,
        peerAckIndex,
        flags | Header.CONTROL,
        channel);
    return seal(bytes, length);
  }

  ByteBuffer seal(ByteBuffer bytes, int length) {
    int total = peerSeal.close(bytes, 0, Header.BYTES + length);
    return bytes.limit(total).position(0);
  }

  DropCause receive(ByteBuffer frame) {
    return flow.receive(frame, now);
  }

  /** The peer acknowledges all before that number, which begins at that offset. */
  void acknowledge(int sequence, long offset) {
    peerAckSequence = sequence;
    peerAckIndex = (int) offset;
    assertThat(receive(control(FIRST_IN, 0, c -> {}))).isEqualTo(DropCause.NONE);
  }
}
