// SPDX-License-Identifier: Apache-2.0
package hutong.api.discovery;

/**
 * Whiteboard service: called once when it appears and after each change, on the discovery bundle's
 * thread.
 */
public interface MembershipListener {
  /** The members changed. Must return soon and not throw. */
  void membershipChanged(MembershipSnapshot snapshot);

  /** Domain 0 says something new about this host; never called where there is no hypervisor. */
  default void hostChanged(HostNotice notice) {}
}
