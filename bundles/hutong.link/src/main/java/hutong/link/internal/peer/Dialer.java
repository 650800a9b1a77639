// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketOption;
import java.net.StandardSocketOptions;
import java.nio.channels.SocketChannel;
import java.util.Map;

/** Makes TCP connections that notice a peer's silent end: 5 s after it, then 3 tries in 6 s. */
final class Dialer {
  private static final Map<String, Integer> KEEPALIVE =
      Map.of("TCP_KEEPIDLE", 5, "TCP_KEEPINTERVAL", 2, "TCP_KEEPCOUNT", 3);

  private final InetAddress source;
  private final int port;

  /**
   * Makes a dialer.
   *
   * @param source where connections go out from, unless it is the wildcard address
   * @param port where they go to
   */
  Dialer(InetAddress source, int port) {
    this.source = source;
    this.port = port;
  }

  /** A channel that is connected or is being connected; it does not block. */
  SocketChannel dial(InetAddress address) throws IOException {
    SocketChannel channel = SocketChannel.open();
    try {
      channel.configureBlocking(false);
      prepare(channel);
      if (!source.isAnyLocalAddress()) {
        channel.bind(new InetSocketAddress(source, 0));
      }
      channel.connect(new InetSocketAddress(address, port));
      return channel;
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw e instanceof IOException io ? io : new IOException(e); // no IPv6 here, for example
    }
  }

  /**
   * Sets the options of a connection. Those for keepalive are the JDK's extended ones; taken by
   * name, no package outside of Java SE has to be imported for them.
   */
  void prepare(SocketChannel channel) throws IOException {
    channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
    channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
    for (SocketOption<?> option : channel.supportedOptions()) {
      Integer value = KEEPALIVE.get(option.name());
      if (value != null && option.type() == Integer.class) {
        set(channel, option, value);
      }
    }
  }

  @SuppressWarnings("unchecked") // its type was looked at
  private static void set(SocketChannel channel, SocketOption<?> option, int value)
      throws IOException {
    channel.setOption((SocketOption<Integer>) option, value);
  }
}
