// SPDX-License-Identifier: Apache-2.0
package hutong.telemetry.internal;

import hutong.api.telemetry.Counter;
import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.LongAdder;

/**
 * Named counters in a mapped file that anybody with access can read at any time, in the byte order
 * of the host:
 *
 * <pre>
 *   0  magic 0x43545548 ("HUTC")    4  version 1    8  capacity in entries    12  entries in use
 *  16  process id (64 bits)        24  its start time, milliseconds since 1970 UTC (64 bits)
 *  64  entries of 64 bytes: value (64 bits), name in UTF-8, NUL-padded to 56 bytes
 * </pre>
 *
 * An entry is complete before the number of entries in use counts it, and never moves. Counters
 * handed out keep working after the bundle that made them is gone.
 */
final class CounterFile {
  static final int MAGIC = 0x43545548;
  static final int VERSION = 1;
  static final int HEADER = 64;
  static final int ENTRY = 64;
  static final int MAX_NAME = ENTRY - 8;

  private static final int CAPACITY_AT = 8;
  private static final int USED_AT = 12;
  private static final int PID_AT = 16;
  private static final int START_AT = 24;
  private static final VarHandle LONG =
      MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.nativeOrder());
  private static final VarHandle INT =
      MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());

  /** A counter in the file. */
  private record Slot(ByteBuffer file, int at) implements Counter {
    @Override
    public void add(long n) {
      LONG.getAndAdd(file, at, n);
    }

    @Override
    public long value() {
      return (long) LONG.getVolatile(file, at);
    }
  }

  /** A counter for which the file has no room. */
  private static final class Homeless implements Counter {
    private final LongAdder sum = new LongAdder();

    @Override
    public void add(long n) {
      sum.add(n);
    }

    @Override
    public long value() {
      return sum.sum();
    }
  }

  private final ByteBuffer file;
  private final Map<String, Counter> counters = new ConcurrentHashMap<>();

  private CounterFile(ByteBuffer file) {
    this.file = file;
  }

  /**
   * Maps the file, with the counts in it if this very process made it, else anew.
   *
   * @param path the file
   * @param capacity entries of a new file
   * @param pid this process
   * @param startMillis its start time
   */
  static CounterFile open(Path path, int capacity, long pid, long startMillis) throws IOException {
    if (Files.exists(path)) {
      ByteBuffer existing = map(path);
      if (isValid(existing)
          && existing.getLong(PID_AT) == pid
          && existing.getLong(START_AT) == startMillis) {
        CounterFile out = new CounterFile(existing);
        out.readNames();
        return out;
      }
    }
    // complete before it has its name, so that no reader sees half of it
    Path fresh = path.resolveSibling(path.getFileName() + ".new");
    ByteBuffer empty =
        ByteBuffer.allocate(HEADER + capacity * ENTRY).order(ByteOrder.nativeOrder());
    empty.putInt(0, MAGIC).putInt(4, VERSION).putInt(CAPACITY_AT, capacity);
    empty.putLong(PID_AT, pid).putLong(START_AT, startMillis);
    Files.write(fresh, empty.array());
    Files.move(fresh, path, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    return new CounterFile(map(path));
  }

  Counter counter(String name) {
    Counter known = counters.get(name);
    return known != null ? known : make(name);
  }

  Map<String, Long> snapshot() {
    Map<String, Long> out = new TreeMap<>();
    counters.forEach((name, counter) -> out.put(name, counter.value()));
    return out;
  }

  private synchronized Counter make(String name) {
    Counter known = counters.get(name);
    if (known != null) {
      return known;
    }
    byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
    if (bytes.length == 0 || bytes.length > MAX_NAME || name.indexOf(0) >= 0) {
      throw new IllegalArgumentException(
          "a counter's name has 1 to " + MAX_NAME + " bytes: " + name);
    }
    int used = file.getInt(USED_AT);
    Counter made;
    if (used < file.getInt(CAPACITY_AT)) {
      int at = HEADER + used * ENTRY;
      file.put(at + 8, bytes);
      INT.setRelease(file, USED_AT, used + 1);
      made = new Slot(file, at);
    } else {
      made = new Homeless();
    }
    counters.put(name, made);
    return made;
  }

  private void readNames() {
    int used = file.getInt(USED_AT);
    for (int i = 0; i < used; i++) {
      int at = HEADER + i * ENTRY;
      int length = 0;
      while (length < MAX_NAME && file.get(at + 8 + length) != 0) {
        length++;
      }
      byte[] name = new byte[length];
      file.get(at + 8, name);
      counters.put(new String(name, StandardCharsets.UTF_8), new Slot(file, at));
    }
  }

  private static ByteBuffer map(Path path) throws IOException {
    try (FileChannel f =
        FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      return f.map(FileChannel.MapMode.READ_WRITE, 0, f.size()).order(ByteOrder.nativeOrder());
    }
  }

  private static boolean isValid(ByteBuffer b) {
    if (b.capacity() < HEADER || b.getInt(0) != MAGIC || b.getInt(4) != VERSION) {
      return false;
    }
    long capacity = Integer.toUnsignedLong(b.getInt(CAPACITY_AT));
    return b.capacity() == HEADER + capacity * ENTRY
        && Integer.toUnsignedLong(b.getInt(USED_AT)) <= capacity;
  }
}
