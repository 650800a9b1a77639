// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.link.PeerId;
import java.security.SecureRandom;
import java.util.HashMap;
import java.util.Map;

/** What a handshake of a test knows. */
final class FakeWorld implements Handshake.World {
  final PeerId self;
  final Identity identity;
  final Map<PeerId, String> keys = new HashMap<>();
  long session;
  long lastKeep;

  FakeWorld(PeerId self, Identity identity, long session) {
    this.self = self;
    this.identity = identity;
    this.session = session;
  }

  FakeWorld knows(PeerId peer, Identity other) {
    keys.put(peer, other.publicKey());
    return this;
  }

  @Override
  public PeerId self() {
    return self;
  }

  @Override
  public long session() {
    return session;
  }

  @Override
  public SecureRandom random() {
    return new SecureRandom();
  }

  @Override
  public byte[] sign(byte[] data) {
    return identity.sign(data);
  }

  @Override
  public String admit(PeerId peer) throws BadPeerException {
    String key = keys.get(peer);
    if (key == null) {
      throw new BadPeerException(BadPeerException.Cause.REFUSED, "unknown");
    }
    return key;
  }

  @Override
  public long lastKeep(PeerId peer, long life) {
    return lastKeep;
  }
}
