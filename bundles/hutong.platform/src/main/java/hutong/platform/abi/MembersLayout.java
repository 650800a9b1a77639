// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

/** The member table, {@code struct hut_members}: a seqlock. */
public final class MembersLayout {
  /** 32 bits: HUT_MEMBERS_MAGIC. */
  public static final int MAGIC = 0;

  /** 32 bits: HUT_ABI_VERSION. */
  public static final int VERSION = 4;

  /** 32 bits. */
  public static final int SEQ = 8;

  /** 32 bits. */
  public static final int COUNT = 12;

  /** 32 bits: 0: everything stays on TCP. */
  public static final int ENABLED = 16;

  /** 32 bits: rule 6. */
  public static final int AFTER_BYTES = 20;

  /** 32 bits: rule 6. */
  public static final int AFTER_MS = 24;

  /** 32 bits: longest spin before a sleep. */
  public static final int SPIN_US = 28;

  /** 32 bits: 1: connections to members on other hosts may be offered, too. */
  public static final int REMOTE = 32;

  /** {@code struct hut_member}, 1024 of them. */
  public static final int MEMBER = 64;

  /** Bytes of the whole structure. */
  public static final int SIZE = 24640;

  private MembersLayout() {}

  /** Where an entry starts; its fields are those of {@link MemberLayout}. */
  public static int member(int index) {
    return MEMBER + java.util.Objects.checkIndex(index, Abi.MEMBERS_MAX) * MemberLayout.SIZE;
  }
}
