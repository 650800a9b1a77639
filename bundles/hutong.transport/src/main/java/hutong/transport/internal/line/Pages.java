// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.link.PeerId;
import hutong.api.transport.LineProgram;
import hutong.api.transport.LineSpec;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.zip.CRC32C;

/**
 * The agent page (memory 3 of the switching rules): what a later agent must know of each line
 * beside the segment. One small file each in a directory that only root may enter, on tmpfs;
 * written by one system call, so that an agent killed meanwhile leaves the old one or the new one.
 *
 * <pre>
 *   0 u32 magic "HUTA"  4 u32 version (1)  8 u32 length of all  12 u32 CRC32C of what follows
 *  16 number, peer number, u64 cookie, u64 inode of the segment, u32 ring, u32 overflow
 *  48 u64 MAC, domain id, u8 n + local address, u8 n + peer address, u8 n + host id
 *   n state of both directions
 * </pre>
 */
final class Pages {
  private static final int MAGIC = 0x41545548;
  private static final int VERSION = 1;
  private static final int HEADER = 16;
  private static final int MOST = 1024;
  private static final Pattern NAME = Pattern.compile("[0-9a-f]{8}");

  /**
   * A page as it was read.
   *
   * @param spec the connection, with nobody who speaks for it
   * @param inode of the segment
   * @param ringSize bytes of a ring
   * @param overSize bytes of an overflow
   * @param state for {@link LightLine#restore}
   */
  record Page(LineSpec spec, long inode, int ringSize, int overSize, ByteBuffer state) {}

  /** Told of what cannot be written or understood. */
  @FunctionalInterface
  interface Complaint {
    /** It cannot be. */
    void failed(String what);
  }

  private final Path directory;
  private final Complaint complaint;
  private final ByteBuffer buffer = ByteBuffer.allocate(MOST);

  /** Pages below a directory, which is made when it is needed. */
  Pages(Path directory, Complaint complaint) {
    this.directory = directory;
    this.complaint = complaint;
  }

  private Path file(int number) {
    return directory.resolve(String.format("%08x", number));
  }

  /** Writes a line's page; any thread, for the first one comes from the line's owner. */
  synchronized void save(LightLine line, long inode) {
    LineSpec spec = line.spec();
    buffer.clear();
    buffer.putInt(MAGIC).putInt(VERSION).putInt(0).putInt(0);
    buffer.putInt(spec.number()).putInt(spec.peerNumber()).putLong(spec.cookie()).putLong(inode);
    buffer
        .putInt(line.ringSize())
        .putInt(line.overSize())
        .putLong(spec.peerMac())
        .putInt(spec.peer().domid());
    put(spec.localAddress());
    put(spec.peerAddress());
    put(spec.peer().hostId().getBytes(StandardCharsets.UTF_8));
    line.save(buffer);
    buffer.putInt(8, buffer.position());
    buffer.putInt(12, sum(buffer.array(), buffer.position()));
    buffer.flip();
    try {
      if (!Files.isDirectory(directory)) {
        Files.createDirectories(
            directory,
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
      }
      try (var channel = Files.newByteChannel(file(spec.number()), StandardOpenOption.WRITE)) {
        channel.write(buffer);
      } catch (NoSuchFileException e) {
        first(file(spec.number()));
      }
    } catch (IOException e) {
      complaint.failed("the page of a line cannot be written: " + e);
    }
  }

  /** Nobody must find a page that is there and empty. */
  private void first(Path file) throws IOException {
    Path whole = directory.resolve("new"); // no name of a page
    try (var channel =
        Files.newByteChannel(
            whole,
            StandardOpenOption.CREATE,
            StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE)) {
      channel.write(buffer);
    }
    Files.move(whole, file, StandardCopyOption.ATOMIC_MOVE);
  }

  private void put(byte[] bytes) {
    buffer.put((byte) bytes.length).put(bytes);
  }

  private static int sum(byte[] bytes, int length) {
    CRC32C crc = new CRC32C();
    crc.update(bytes, HEADER, length - HEADER);
    return (int) crc.getValue();
  }

  /**
   * Reads a page.
   *
   * @param program of the new owner
   * @return null if there is none, or if it is not whole or of another version
   */
  Page load(int number, LineProgram program) {
    byte[] bytes;
    try {
      bytes = Files.readAllBytes(file(number));
    } catch (IOException e) {
      return null;
    }
    if (bytes.length < HEADER) {
      return null;
    }
    ByteBuffer in = ByteBuffer.wrap(bytes);
    int length = in.getInt(8);
    int version = in.getInt(4);
    if (in.getInt(0) == MAGIC && version != VERSION) {
      complaint.failed(
          "the page of line %08x is of version %d, not %d: that line cannot go on"
              .formatted(number, version, VERSION));
      return null;
    }
    if (in.getInt(0) != MAGIC
        || length < HEADER
        || length > bytes.length
        || in.getInt(12) != sum(bytes, length)) {
      return null;
    }
    in.position(HEADER).limit(length);
    int own = in.getInt();
    int peerNumber = in.getInt();
    long cookie = in.getLong();
    long inode = in.getLong();
    int ring = in.getInt();
    int over = in.getInt();
    long mac = in.getLong();
    int domid = in.getInt();
    byte[] local = take(in);
    byte[] remote = take(in);
    String host = new String(take(in), StandardCharsets.UTF_8);
    LineSpec spec =
        new LineSpec(new PeerId(host, domid), own, peerNumber, mac, local, remote, cookie, program);
    return own == number ? new Page(spec, inode, ring, over, in.slice()) : null;
  }

  private static byte[] take(ByteBuffer in) {
    byte[] out = new byte[in.get()];
    in.get(out);
    return out;
  }

  /** The numbers of all lines that have a page; files of other names are none of ours. */
  List<Integer> numbers() {
    List<Integer> out = new ArrayList<>();
    try (DirectoryStream<Path> files = Files.newDirectoryStream(directory)) {
      for (Path file : files) {
        String name = file.getFileName().toString();
        if (NAME.matcher(name).matches()) {
          out.add(Integer.parseUnsignedInt(name, 16));
        }
      }
    } catch (IOException | DirectoryIteratorException e) {
      return out; // there is none
    }
    return out;
  }

  /** Forgets a line. */
  void remove(int number) {
    try {
      Files.deleteIfExists(file(number));
    } catch (IOException e) {
      complaint.failed("the page of a line cannot be removed: " + e);
    }
  }
}
