// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.link.PeerId;
import hutong.link.internal.peer.KeySchedule.Side;
import hutong.link.internal.peer.Sealer.Kind;
import java.nio.ByteBuffer;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.SecureRandom;
import java.util.Arrays;

/**
 * The beginning of a connection, without its socket. Whoever began it says hello; the other one
 * answers with its hello and its signature; the former gives its signature. Each signs both hellos
 * and with them both names, both shares and both nonces, so that nothing of it is of use elsewhere.
 */
final class Handshake {
  private static final int AUTH_BYTES = KeySchedule.SIGNATURE_BYTES + 8;

  /** Longest thing that may come before the end of the handshake. */
  static final int MAX_BYTES = Hello.MAX_BYTES + Sealer.OVERHEAD + AUTH_BYTES;

  /** What a handshake has to know about the world. */
  interface World {
    /** This VM. */
    PeerId self();

    /** Random, the same for all handshakes of this life. */
    long session();

    /** The source of nonces and shares. */
    SecureRandom random();

    /** Signs with this VM's key. */
    byte[] sign(byte[] data) throws BadPeerException;

    /**
     * The key of a peer, or a refusal.
     *
     * @param peer who it says it is
     * @return Base64 of the X.509 form
     */
    String admit(PeerId peer) throws BadPeerException;

    /** Number of the last KEEP that came from that life of the peer; 0 if none did. */
    long lastKeep(PeerId peer, long session);
  }

  private final World world;
  private final Side side;
  private KeyPair pair;
  private byte[] ownHello;
  private PeerId peer;
  private String peerKey;
  private long peerSession;
  private long peerLastKeep;
  private KeySchedule keys;
  private Sealer reader;
  private Sealer writer;
  private boolean done;

  private Handshake(World world, Side side) {
    this.world = world;
    this.side = side;
  }

  /** One that this side begins; the hello goes to {@code out}. */
  static Handshake begin(World world, PeerId peer, ByteBuffer out) throws GeneralSecurityException {
    Handshake handshake = new Handshake(world, Side.BEGINNER);
    handshake.peer = peer;
    handshake.hello(out);
    return handshake;
  }

  /** One that the other side begins. */
  static Handshake answer(World world) {
    return new Handshake(world, Side.ANSWERER);
  }

  private void hello(ByteBuffer out) throws GeneralSecurityException {
    pair = KeySchedule.freshPair(world.random()); // not before the other side is worth it
    byte[] nonce = new byte[Hello.RANDOM_BYTES];
    world.random().nextBytes(nonce);
    ownHello =
        new Hello(world.session(), nonce, KeySchedule.share(pair), world.self(), peer).encode();
    out.put(ownHello);
  }

  /**
   * Goes on as far as the bytes allow.
   *
   * @param in what has come; moved past what was used
   * @param out room for the answer
   * @return whether the handshake is over; what follows in {@code in} are records
   * @throws BadPeerException if the other side must not be talked to
   */
  boolean step(ByteBuffer in, ByteBuffer out) throws BadPeerException, GeneralSecurityException {
    if (keys == null && !hello(in, out)) {
      return false;
    }
    return done || auth(in, out);
  }

  private boolean hello(ByteBuffer in, ByteBuffer out)
      throws BadPeerException, GeneralSecurityException {
    if (in.remaining() < Hello.HEAD_BYTES) {
      return false;
    }
    int length = Hello.length(in);
    if (in.remaining() < length) {
      return false;
    }
    byte[] bytes = new byte[length];
    in.get(bytes);
    Hello hello = Hello.decode(bytes);
    if (!hello.to().equals(world.self())) {
      throw new BadPeerException(
          BadPeerException.Cause.REFUSED, "it looks for " + hello.to() + " here");
    }
    if (side == Side.BEGINNER && !hello.from().equals(peer)) {
      throw new BadPeerException(
          BadPeerException.Cause.REFUSED, hello.from() + " is there instead of " + peer);
    }
    peer = hello.from();
    peerKey = world.admit(peer);
    peerSession = hello.session();
    if (side == Side.ANSWERER) {
      hello(out);
    }
    derive(bytes, hello.share());
    if (side == Side.ANSWERER) {
      sendAuth(out);
    }
    return true;
  }

  private void derive(byte[] othersHello, byte[] othersShare)
      throws BadPeerException, GeneralSecurityException {
    boolean begun = side == Side.BEGINNER;
    try {
      keys =
          KeySchedule.derive(
              begun ? ownHello : othersHello, begun ? othersHello : ownHello, pair, othersShare);
    } catch (GeneralSecurityException | ArithmeticException e) {
      throw new BadPeerException(BadPeerException.Cause.MALFORMED, "share in a hello");
    }
    reader = new Sealer(keys.keyOf(side.other()));
    writer = new Sealer(keys.keyOf(side));
  }

  private void sendAuth(ByteBuffer out) throws BadPeerException, GeneralSecurityException {
    byte[] content =
        ByteBuffer.allocate(AUTH_BYTES)
            .put(world.sign(keys.signedBy(side)))
            .putLong(world.lastKeep(peer, peerSession))
            .array();
    writer.seal(Kind.AUTH, 0, content, out);
  }

  private boolean auth(ByteBuffer in, ByteBuffer out)
      throws BadPeerException, GeneralSecurityException {
    if (in.remaining() < 4) {
      return false;
    }
    int total = Sealer.length(in, AUTH_BYTES);
    if (in.remaining() < total) {
      return false;
    }
    Sealer.Content record = reader.open(in, total);
    if (record.kind() != Kind.AUTH
        || record.topic() != 0
        || record.content().length != AUTH_BYTES) {
      throw new BadPeerException(BadPeerException.Cause.MALFORMED, "no signature");
    }
    byte[] signature = Arrays.copyOf(record.content(), KeySchedule.SIGNATURE_BYTES);
    if (!keys.isSignedBy(side.other(), peerKey, signature)) {
      throw new BadPeerException(
          BadPeerException.Cause.UNAUTHENTIC, "the signature is not that of " + peer);
    }
    peerLastKeep = ByteBuffer.wrap(record.content()).getLong(KeySchedule.SIGNATURE_BYTES);
    if (side == Side.BEGINNER) {
      sendAuth(out);
    }
    done = true;
    return true;
  }

  /** Who the other side is; not proved before the handshake is over, null before its hello. */
  PeerId peer() {
    return peer;
  }

  /** The key that it was held to. */
  String peerKey() {
    return peerKey;
  }

  /** Names the life of the other side's agent. */
  long peerSession() {
    return peerSession;
  }

  /** Number of the last KEEP that it has had from this life of ours. */
  long peerLastKeep() {
    return peerLastKeep;
  }

  /** Reads what follows. */
  Sealer reader() {
    return reader;
  }

  /** Writes what follows. */
  Sealer writer() {
    return writer;
  }
}
