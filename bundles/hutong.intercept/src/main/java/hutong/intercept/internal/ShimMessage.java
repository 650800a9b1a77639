// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.Reason;
import hutong.platform.abi.Abi;
import hutong.platform.abi.MessageLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * A control message of a program's shim ({@code struct hut_msg}), as far as an agent reads it.
 *
 * @param type {@code enum hut_msg_type}, not checked
 * @param version the sender's version
 * @param ref the shim's own number of the connection
 * @param fd the socket's descriptor number there
 * @param cookie the socket's cookie, as the shim says
 * @param slot index in the end pool
 * @param reason why a registration ends, not checked
 */
record ShimMessage(int type, int version, int ref, int fd, long cookie, int slot, int reason) {
  /**
   * Reads a message.
   *
   * @return null unless it has exactly the right size
   */
  static ShimMessage decode(byte[] data) {
    if (data.length != MessageLayout.SIZE) {
      return null;
    }
    ByteBuffer in = ByteBuffer.wrap(data).order(ByteOrder.nativeOrder());
    return new ShimMessage(
        in.getInt(MessageLayout.TYPE),
        in.getInt(MessageLayout.VERSION),
        in.getInt(MessageLayout.REF),
        in.getInt(MessageLayout.FD),
        in.getLong(MessageLayout.COOKIE),
        in.getInt(MessageLayout.SLOT),
        in.getInt(MessageLayout.REASON));
  }

  private static ByteBuffer start(int type, int ref) {
    ByteBuffer out = ByteBuffer.allocate(MessageLayout.SIZE).order(ByteOrder.nativeOrder());
    out.putInt(MessageLayout.TYPE, type);
    out.putInt(MessageLayout.VERSION, Abi.ABI_VERSION);
    return out.putInt(MessageLayout.REF, ref);
  }

  /** Answer to a greeting. */
  static byte[] welcome(int mark) {
    return start(Abi.MSG_WELCOME, mark).array();
  }

  /** There will be no channel. */
  static byte[] declined(int ref, Reason reason) {
    return start(Abi.MSG_DECLINED, ref).putInt(MessageLayout.REASON, reason.number()).array();
  }

  /** The channel stands. */
  static byte[] channel(int ref, int side, Registration registration) {
    ByteBuffer out = start(Abi.MSG_CHANNEL, ref);
    out.putInt(MessageLayout.SIDE, side);
    out.putInt(MessageLayout.RING_SIZE, registration.ringSize);
    out.putInt(MessageLayout.OVER_SIZE, registration.overSize);
    out.putInt(MessageLayout.CHAN, registration.channel.number());
    out.putInt(MessageLayout.PEER_CHAN, registration.channel.peerNumber());
    int flags =
        (registration.far == null ? 0 : Abi.MSGF_REMOTE)
            | (registration.port == 0 ? 0 : Abi.MSGF_XEN);
    out.putShort(MessageLayout.FLAGS, (short) flags);
    out.putInt(MessageLayout.PORT, registration.port);
    for (int i = 0; i < 6; i++) {
      out.put(MessageLayout.PEER_MAC + i, (byte) (registration.peerMac >>> (40 - 8 * i)));
    }
    return out.array();
  }
}
