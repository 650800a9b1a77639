// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.link.PeerId;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * The members by address. An address that two VMs claim belongs to neither: its connections stay on
 * TCP, and no VM can take another's (rule 20).
 */
final class MemberView {
  /** Nobody. */
  static final MemberView EMPTY = new MemberView(new TreeMap<>(), 0);

  private final TreeMap<Address, Member> byAddress;
  private final long selfMac;

  private MemberView(TreeMap<Address, Member> byAddress, long selfMac) {
    this.byAddress = byAddress;
    this.selfMac = selfMac;
  }

  /** The view of a snapshot; what is malformed in it is left out. */
  static MemberView of(MembershipSnapshot snapshot) {
    TreeMap<Address, Member> map = new TreeMap<>();
    Set<Address> disputed = new HashSet<>();
    long mac = 0;
    for (Member member : snapshot.members()) {
      if (member.self()) {
        mac = mac(member.mac());
      }
      for (String text : member.addresses()) {
        Address address;
        try {
          address = Address.parse(text);
        } catch (IllegalArgumentException e) {
          continue;
        }
        Member other = map.putIfAbsent(address, member);
        if (other != null && other != member) {
          disputed.add(address);
        }
      }
    }
    disputed.forEach(map::remove);
    return new MemberView(map, mac);
  }

  /** A MAC address from its text, 48 bits in the low end; 0 if it is none. */
  static long mac(String text) {
    try {
      return Long.parseLong(text.replace(":", ""), 16) & 0xffff_ffff_ffffL;
    } catch (NumberFormatException e) {
      return 0;
    }
  }

  /** The member that has an address, or null. */
  Member get(Address address) {
    return byAddress.get(address);
  }

  /** The MAC address of a VM on any host, 48 bits in the low end; 0 if it is no member. */
  long mac(PeerId peer) {
    for (Member member : byAddress.values()) {
      if (member.domid() == peer.domid() && member.hostId().equals(peer.hostId())) {
        return mac(member.mac());
      }
    }
    return 0;
  }

  /** All members by address, sorted as the member table is. */
  Map<Address, Member> all() {
    return byAddress;
  }

  /** This VM's MAC address, 48 bits in the low end; 0 while unknown. */
  long selfMac() {
    return selfMac;
  }
}
