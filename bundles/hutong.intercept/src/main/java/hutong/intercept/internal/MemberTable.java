// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.discovery.Member;
import hutong.api.os.Fd;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.abi.Abi;
import hutong.platform.abi.MemberLayout;
import hutong.platform.abi.MembersLayout;
import java.io.IOException;
import java.util.Map;

/**
 * The member table that programs map read-only (architecture, decision 10; {@code struct
 * hut_members}): connect() to anybody else costs them a look-up. Written under its sequence lock by
 * one thread.
 */
final class MemberTable implements AutoCloseable {
  /**
   * What programs are told besides the members.
   *
   * @param afterBytes rule 6
   * @param afterMs rule 6
   * @param spinUs longest spin before a sleep, in microseconds
   */
  record Settings(int afterBytes, int afterMs, int spinUs) {}

  private final Mapping map;
  private final Fd readOnly;

  /** Makes an empty table, in which everything stays on TCP until {@link #enable}. */
  MemberTable(Memory memory, Settings settings) throws IOException {
    try (Fd file =
        memory.memfdCreate(
            "hutong-members", MembersLayout.SIZE, Memory.SEAL_SHRINK | Memory.SEAL_GROW)) {
      map = memory.map(file, MembersLayout.SIZE, true);
      Fd reopened = null;
      try {
        Native.sealAgainstNewWriters(file);
        reopened = memory.reopenReadOnly(file);
        map.putInt(MembersLayout.VERSION, Abi.ABI_VERSION);
        map.putInt(MembersLayout.AFTER_BYTES, settings.afterBytes);
        map.putInt(MembersLayout.AFTER_MS, settings.afterMs);
        map.putInt(MembersLayout.SPIN_US, settings.spinUs);
        map.putIntVolatile(MembersLayout.MAGIC, Abi.MEMBERS_MAGIC);
      } catch (IOException | RuntimeException e) {
        map.close();
        if (reopened != null) {
          reopened.close();
        }
        throw e;
      }
      readOnly = reopened;
    }
  }

  /** Says whether connections may leave TCP; programs look when their doorbell rings. */
  void enable(boolean on) {
    map.putIntVolatile(MembersLayout.ENABLED, on ? 1 : 0);
  }

  /** Says whether connections to members on other hosts may leave TCP. */
  void remote(boolean on) {
    map.putIntVolatile(MembersLayout.REMOTE, on ? 1 : 0);
  }

  /** The descriptor for programs; stays the table's. */
  Fd readOnly() {
    return readOnly;
  }

  /**
   * Replaces the members; those beyond the table's size are left out, whoever is on this host
   * first.
   */
  void write(MemberView view) {
    int seq = map.getInt(MembersLayout.SEQ);
    map.putIntVolatile(MembersLayout.SEQ, seq + 1);
    long local = view.all().values().stream().filter(Member::coResident).count();
    long remote = Math.max(0, Abi.MEMBERS_MAX - local);
    int count = 0;
    for (Map.Entry<Address, Member> entry : view.all().entrySet()) {
      Member member = entry.getValue();
      if (count >= Abi.MEMBERS_MAX || (!member.coResident() && --remote < 0)) {
        continue;
      }
      int at = MembersLayout.member(count++);
      map.putBytes(at + MemberLayout.ADDR, entry.getKey().bytes());
      int flags =
          (member.coResident() ? Abi.MEMBER_CORESIDENT : 0) | (member.self() ? Abi.MEMBER_SELF : 0);
      map.putInt(at + MemberLayout.FLAGS, flags);
      map.putInt(at + MemberLayout.VM, member.domid());
    }
    map.putInt(MembersLayout.COUNT, count);
    map.putIntVolatile(MembersLayout.SEQ, seq + 2);
  }

  @Override
  public void close() {
    readOnly.close();
    map.close();
  }
}
