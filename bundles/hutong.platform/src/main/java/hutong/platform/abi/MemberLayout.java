// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

/** One entry of the member table, {@code struct hut_member}. */
public final class MemberLayout {
  /** Bytes, 16 of them: IPv6, or IPv4 as ::ffff:a.b.c.d. */
  public static final int ADDR = 0;

  /** 32 bits: {@code enum hut_member_flags}. */
  public static final int FLAGS = 16;

  /** 32 bits: agent's own number for the VM, for display. */
  public static final int VM = 20;

  /** Bytes of the whole structure. */
  public static final int SIZE = 24;

  private MemberLayout() {}
}
