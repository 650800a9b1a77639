// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.InetSocketAddress;
import java.net.SocketException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.List;
import java.util.concurrent.TimeUnit;
import jnr.ffi.LibraryLoader;
import jnr.ffi.Runtime;

/**
 * Runs code in a network namespace of its own, on a thread of its own; threads made there stay in
 * it. Needs root.
 */
final class NetNs {
  private static final int CLONE_NEWNET = 0x40000000;
  private static final int DEADLINE_S = 30;
  private static final Libc LIBC = LibraryLoader.create(Libc.class).load("c");

  /** libc, as far as it is needed here. */
  public interface Libc {
    /** See unshare(2). */
    int unshare(int flags);
  }

  /** What may throw. */
  interface Body {
    /** Runs. */
    void run() throws Exception;
  }

  private NetNs() {}

  /** Runs the body with the addresses on the loopback device. */
  static void run(List<String> addresses, Body body) throws Exception {
    Throwable[] thrown = new Throwable[1];
    Thread thread =
        new Thread(
            () -> {
              try {
                assertThat(LIBC.unshare(CLONE_NEWNET))
                    .as("unshare: errno %s; needs root", Runtime.getSystemRuntime().getLastError())
                    .isZero();
                ip("link", "set", "lo", "up");
                for (String address : addresses) {
                  ip("addr", "add", address, "dev", "lo", "nodad");
                }
                for (String address : addresses) {
                  untilRouted(address.replaceFirst("/.*", ""));
                }
                body.run();
              } catch (Throwable e) {
                thrown[0] = e;
              }
            },
            "netns");
    thread.start();
    thread.join();
    if (thrown[0] instanceof Exception e) {
      throw e;
    }
    if (thrown[0] instanceof Error e) {
      throw e;
    }
  }

  /**
   * A busy kernel makes the routes of an IPv6 address some time after the address
   * (addrconf_dad_work), one after the other: so by what tests do.
   */
  private static void untilRouted(String address) throws Exception {
    InetSocketAddress any = new InetSocketAddress(address, 0);
    for (long begin = System.nanoTime(); ; ) {
      try (ServerSocketChannel listener = ServerSocketChannel.open();
          SocketChannel probe = SocketChannel.open()) {
        listener.bind(any);
        probe.bind(any);
        probe.connect(listener.getLocalAddress());
        listener.accept().close();
        return;
      } catch (SocketException e) {
        if (System.nanoTime() - begin > TimeUnit.SECONDS.toNanos(DEADLINE_S)) {
          throw e;
        }
        Thread.sleep(5);
      }
    }
  }

  private static void ip(String... args) throws Exception {
    List<String> command = new java.util.ArrayList<>(List.of("ip"));
    command.addAll(List.of(args));
    if (!args[0].equals("addr") || !args[2].contains(":")) {
      command.remove("nodad");
    }
    assertThat(new ProcessBuilder(command).inheritIO().start().waitFor())
        .as(command.toString())
        .isZero();
  }
}
