// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.platform.Sockets;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;

/**
 * The list datagram on the wire; it follows the Ethernet header with EtherType 0x88B6. Big-endian.
 *
 * <pre>
 *  0  u32 magic "HUTL"
 *  4  u8  version (2)
 *  5  u8  part
 *  6  u8  parts
 *  7  u8  length of the host id
 *  8  u64 epoch
 * 16  u64 sequence
 * 24  u32 valid for, milliseconds
 * 28  u16 length of all before the signature
 * 30  u16 number of entries
 * 32  host id, then the entries:
 *       u16 domain id, 6 bytes MAC, u8 n + n bytes name, u8 n + n bytes version,
 *       u8 number of addresses, each u8 4 or 16 + so many bytes,
 *       from version 2 on: u8 0 or 44 + so many bytes, the agent's Ed25519 key in X.509 form
 *  n  64 bytes Ed25519 signature over bytes 0 to n-1; Ethernet's padding may follow
 * </pre>
 *
 * <p>Version 2 is written. Version 1 is understood: its VMs have no keys.
 */
final class ListCodec {
  static final int ETHER_TYPE = 0x88B6;
  static final int SIGNATURE_BYTES = 64;
  static final int MAX_PARTS = 32;

  /** Longest datagram that is looked at. */
  static final int MAX_BYTES = 9000;

  static final int MAX_ADDRESSES = 32;
  static final int MAX_TEXT = 63;
  private static final int MAGIC = 0x4855544c;
  private static final int VERSION = 2;
  private static final int VERSION_WITHOUT_KEYS = 1;
  private static final int HEADER_BYTES = 32;

  private ListCodec() {}

  /** A datagram taken apart: what is signed, and by what. */
  record Parsed(ListPart list, byte[] signed, byte[] signature) {}

  /** Signs bytes. */
  @FunctionalInterface
  interface Signer {
    byte[] sign(byte[] data);
  }

  /**
   * Writes a list as one or more signed datagrams.
   *
   * @param head host, epoch, sequence and validity; its part numbers and entries are not looked at
   * @param entries the VMs
   * @param mtu most bytes of a datagram
   * @param signer the host's key
   * @return the datagrams; entries that fit none of {@link #MAX_PARTS} are left out
   */
  static List<byte[]> encode(ListPart head, List<Entry> entries, int mtu, Signer signer) {
    byte[] host = head.hostId().getBytes(StandardCharsets.UTF_8);
    int room = mtu - HEADER_BYTES - host.length - SIGNATURE_BYTES;
    List<ByteBuffer> bodies = new ArrayList<>();
    List<Integer> counts = new ArrayList<>();
    bodies.add(ByteBuffer.allocate(room));
    counts.add(0);
    for (Entry entry : entries) {
      byte[] bytes = encode(entry);
      if (bytes.length > bodies.get(bodies.size() - 1).remaining()) {
        if (bytes.length > room || bodies.size() == MAX_PARTS) {
          continue;
        }
        bodies.add(ByteBuffer.allocate(room));
        counts.add(0);
      }
      bodies.get(bodies.size() - 1).put(bytes);
      counts.set(counts.size() - 1, counts.get(counts.size() - 1) + 1);
    }
    List<byte[]> datagrams = new ArrayList<>();
    for (int part = 0; part < bodies.size(); part++) {
      ByteBuffer body = bodies.get(part).flip();
      int length = HEADER_BYTES + host.length + body.remaining();
      ByteBuffer out = ByteBuffer.allocate(length);
      out.putInt(MAGIC).put((byte) VERSION).put((byte) part).put((byte) bodies.size());
      out.put((byte) host.length).putLong(head.epoch()).putLong(head.sequence());
      out.putInt(head.validMs()).putShort((short) length);
      out.putShort(counts.get(part).shortValue()).put(host).put(body);
      byte[] signature = signer.sign(out.array());
      datagrams.add(
          ByteBuffer.allocate(length + signature.length).put(out.array()).put(signature).array());
    }
    return datagrams;
  }

  private static byte[] encode(Entry entry) {
    ByteBuffer out =
        ByteBuffer.allocate(
            2 + 6 + 2 * (1 + 255) + 1 + MAX_ADDRESSES * 17 + 1 + Ed25519.X509_BYTES);
    out.putShort((short) entry.domid()).put(Sockets.macBytes(entry.mac()));
    putText(out, entry.name());
    putText(out, entry.version());
    List<String> addresses =
        entry.addresses().subList(0, Math.min(MAX_ADDRESSES, entry.addresses().size()));
    out.put((byte) addresses.size());
    for (String text : addresses) {
      byte[] address = Addresses.parse(text).orElseThrow().getAddress();
      out.put((byte) address.length).put(address);
    }
    byte[] key = Ed25519.fromText(entry.key()).orElse(new byte[0]);
    out.put((byte) key.length).put(key);
    return Arrays.copyOf(out.array(), out.position());
  }

  private static void putText(ByteBuffer out, String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    int length = Math.min(bytes.length, MAX_TEXT);
    out.put((byte) length).put(bytes, 0, length);
  }

  /**
   * Takes a datagram apart. Nothing in it is believed yet: the signature is the caller's to check.
   *
   * @param data what followed the Ethernet header
   * @return its parts
   * @throws MalformedListException if it is not of the form above
   */
  static Parsed decode(byte[] data) throws MalformedListException {
    if (data.length < HEADER_BYTES + SIGNATURE_BYTES || data.length > MAX_BYTES) {
      throw new MalformedListException("length " + data.length);
    }
    ByteBuffer in = ByteBuffer.wrap(data);
    require(in.getInt() == MAGIC, "magic");
    int version = in.get();
    require(version == VERSION || version == VERSION_WITHOUT_KEYS, "version");
    int part = in.get() & 0xff;
    int parts = in.get() & 0xff;
    int hostLength = in.get() & 0xff;
    long epoch = in.getLong();
    long sequence = in.getLong();
    int validMs = in.getInt();
    int length = in.getShort() & 0xffff;
    int count = in.getShort() & 0xffff;
    require(parts >= 1 && parts <= MAX_PARTS && part < parts, "part " + part + " of " + parts);
    require(epoch > 0 && sequence > 0 && validMs > 0, "epoch, sequence or validity");
    require(
        length >= HEADER_BYTES + hostLength && length <= data.length - SIGNATURE_BYTES, "lengths");
    require(hostLength > 0 && hostLength <= MAX_TEXT, "host id");
    in.limit(length);
    try {
      String host = text(in, hostLength);
      List<Entry> entries = new ArrayList<>();
      for (int i = 0; i < count; i++) {
        entries.add(entry(in, version == VERSION));
      }
      require(!in.hasRemaining(), "bytes after the entries");
      ListPart list = new ListPart(host, epoch, sequence, part, parts, validMs, entries);
      byte[] signature = Arrays.copyOfRange(data, length, length + SIGNATURE_BYTES);
      return new Parsed(list, Arrays.copyOf(data, length), signature);
    } catch (BufferUnderflowException e) {
      throw new MalformedListException("entries are cut off");
    }
  }

  private static Entry entry(ByteBuffer in, boolean withKey) throws MalformedListException {
    int domid = in.getShort() & 0xffff;
    byte[] mac = new byte[6];
    in.get(mac);
    String name = text(in, in.get() & 0xff);
    String version = text(in, in.get() & 0xff);
    int count = in.get() & 0xff;
    require(count <= MAX_ADDRESSES, "addresses");
    List<String> addresses = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int length = in.get();
      require(length == 4 || length == 16, "length of an address");
      byte[] address = new byte[length];
      in.get(address);
      addresses.add(address(address));
    }
    return new Entry(domid, name, Sockets.macText(mac), addresses, version, withKey ? key(in) : "");
  }

  private static String key(ByteBuffer in) throws MalformedListException {
    byte[] key = new byte[in.get() & 0xff];
    in.get(key);
    require(key.length == 0 || Ed25519.isPublic(key), "key");
    return Base64.getEncoder().encodeToString(key);
  }

  private static String address(byte[] bytes) throws MalformedListException {
    try {
      InetAddress address = InetAddress.getByAddress(bytes);
      require(Addresses.usable(address), "address");
      return Addresses.text(address);
    } catch (UnknownHostException e) {
      throw new MalformedListException("address");
    }
  }

  private static String text(ByteBuffer in, int length) throws MalformedListException {
    require(length <= MAX_TEXT, "length of a text");
    byte[] bytes = new byte[length];
    in.get(bytes);
    for (byte b : bytes) {
      require(b >= ' ' && b < 127, "character of a text");
    }
    return new String(bytes, StandardCharsets.US_ASCII);
  }

  private static void require(boolean right, String what) throws MalformedListException {
    if (!right) {
      throw new MalformedListException(what);
    }
  }
}
