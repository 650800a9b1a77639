// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.discovery.HostNotice;
import java.security.PublicKey;
import java.util.Map;

/**
 * What a VM knows from domain 0 through XenStore, where nobody else can write it.
 *
 * @param hostId the host that this VM runs on
 * @param keys public keys of all trusted host agents
 * @param floorEpoch epoch of the latest change of the own host's list; 0 if unknown
 * @param floorSequence sequence of the latest change of the own host's list
 * @param notice about the host's domains
 */
record Trust(
    String hostId,
    Map<String, PublicKey> keys,
    long floorEpoch,
    long floorSequence,
    HostNotice notice) {
  static final Trust NONE = new Trust("", Map.of(), 0, 0, HostNotice.NONE);

  Trust {
    keys = Map.copyOf(keys);
  }
}
