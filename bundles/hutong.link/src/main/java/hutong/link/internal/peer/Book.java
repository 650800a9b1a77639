// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.link.PeerId;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** Who may be talked to, as the signed lists have it at one moment. Immutable. */
final class Book {
  static final Book EMPTY = of(new MembershipSnapshot(0, List.of()), false);
  private static final Pattern LITERAL =
      Pattern.compile("[0-9.]{7,15}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*");

  private final PeerId self;
  private final Map<PeerId, Entry> peers = new HashMap<>();
  private final Set<InetAddress> addresses = new HashSet<>();

  /**
   * A VM that has a key and an address.
   *
   * @param key Base64 of the X.509 form
   * @param addresses at least one
   */
  record Entry(String key, List<InetAddress> addresses) {
    Entry {
      addresses = List.copyOf(addresses);
    }
  }

  private Book(PeerId self) {
    this.self = self;
  }

  /**
   * What a snapshot says.
   *
   * @param neighbours whether VMs of the own host are peers too, where no host agent passes
   *     messages on
   */
  static Book of(MembershipSnapshot snapshot, boolean neighbours) {
    PeerId self = null;
    for (Member member : snapshot.members()) {
      if (member.self()) {
        self = new PeerId(member.hostId(), member.domid());
      }
    }
    Book book = new Book(self);
    for (Member member : snapshot.members()) {
      List<InetAddress> addresses = addresses(member);
      boolean peer = neighbours ? !member.self() : !member.coResident();
      if (peer && !member.key().isEmpty() && !addresses.isEmpty()) {
        book.peers.put(
            new PeerId(member.hostId(), member.domid()), new Entry(member.key(), addresses));
        book.addresses.addAll(addresses);
      }
    }
    return book;
  }

  private static List<InetAddress> addresses(Member member) {
    List<InetAddress> out = new ArrayList<>();
    for (String text : member.addresses()) {
      if (LITERAL.matcher(text).matches()) {
        try {
          out.add(InetAddress.getByName(text)); // a literal: there is nothing to look up
        } catch (UnknownHostException e) {
          continue; // not an address after all
        }
      }
    }
    return out;
  }

  /** This VM; null while its own host's list is not known. */
  PeerId self() {
    return self;
  }

  /** What is known of a peer; null if there can be no link with it. */
  Entry peer(PeerId id) {
    return self == null ? null : peers.get(id);
  }

  /** Whether some peer has that address. */
  boolean isPeerAddress(InetAddress address) {
    return self != null && addresses.contains(address);
  }
}
