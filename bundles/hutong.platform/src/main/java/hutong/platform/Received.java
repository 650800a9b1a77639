// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;
import java.util.List;

/**
 * One message from a Unix socket.
 *
 * @param data the bytes; empty at the end of the stream
 * @param fds the descriptors that came with it; whoever received the message closes them
 * @param eof the peer closed its end; data and fds are empty
 * @param truncated the message was longer, or had more descriptors, than allowed; all its
 *     descriptors were closed
 */
public record Received(byte[] data, List<Fd> fds, boolean eof, boolean truncated) {
  /** Copies the list of descriptors. */
  public Received {
    fds = List.copyOf(fds);
  }

  /** Closes all descriptors of the message. */
  public void closeFds() {
    fds.forEach(Fd::close);
  }
}
