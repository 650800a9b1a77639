// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.AgentConfig;
import hutong.transport.internal.engine.FlowSettings;
import java.util.Locale;

/**
 * What is configured.
 *
 * @param inter which connections between hosts leave TCP
 * @param wire the only wire to be used, or {@link WireKind#NONE} for whichever works
 * @param interfaceName the VM's interface
 * @param etherType EtherType of the datagrams
 * @param udpPort UDP port of the datagrams
 * @param window W (M1.3)
 * @param waitNs T (M1.3), or 0 where it adapts to the round trip (D4)
 * @param ringSize bytes of a ring of a line
 * @param overSize bytes of an overflow
 * @param authenticate whether datagrams must carry a MAC (D6)
 * @param endPatienceNs how long a FIN waits for the end of its stream (rule 17)
 */
record LightSettings(
    Inter inter,
    WireKind wire,
    String interfaceName,
    int etherType,
    int udpPort,
    int window,
    long waitNs,
    int ringSize,
    int overSize,
    boolean authenticate,
    long endPatienceNs) {
  /** Which connections between hosts leave TCP. */
  enum Inter {
    /** While that is no worse than TCP. */
    AUTO,
    /** All. */
    LIGHT,
    /** None. */
    TCP
  }

  /**
   * Reads the configuration.
   *
   * @throws IllegalArgumentException naming what is wrong
   */
  static LightSettings of(AgentConfig config) {
    int ring = size(config, "hutong.inter.ring.size", 1 << 20);
    int over = size(config, "hutong.inter.overflow.size", 4 << 20);
    if (over < ring / 2) {
      // A writer that has gone over to it is woken when there is room for half a ring.
      throw new IllegalArgumentException(
          "hutong.inter.overflow.size is "
              + over
              + ", less than half of hutong.inter.ring.size, "
              + ring);
    }
    return new LightSettings(
        one("hutong.inter", config.text("hutong.inter", "auto"), Inter.class),
        wire(config.text("hutong.wire", "auto")),
        config.networkInterface(),
        (int) config.number("hutong.ethertype", 0x88B5, 0x600, 0xffff),
        (int) config.number("hutong.udp.port", 7414, 1, 0xffff),
        (int)
            config.number(
                "hutong.window",
                FlowSettings.REFERENCE_WINDOW,
                FlowSettings.LEAST_WINDOW,
                FlowSettings.MOST_WINDOW),
        waitNs(config),
        ring,
        over,
        config.flag("hutong.authenticate", false),
        1_000_000 * config.number("hutong.end.ms", 50_000, 100, 3_600_000));
  }

  private static int size(AgentConfig config, String key, int usual) {
    int size = (int) config.number(key, usual, 4096, 1 << 26);
    if (Integer.bitCount(size) != 1) {
      throw new IllegalArgumentException(key + " is " + size + ", no power of two");
    }
    return size;
  }

  private static long waitNs(AgentConfig config) {
    return config.text("hutong.wait.us", "auto").equals("auto")
        ? 0
        : 1000
            * config.number(
                "hutong.wait.us",
                0,
                FlowSettings.LEAST_WAIT_NS / 1000,
                FlowSettings.MOST_WAIT_NS / 1000);
  }

  private static WireKind wire(String text) {
    return text.equals("auto") ? WireKind.NONE : one("hutong.wire", text, WireKind.class);
  }

  private static <E extends Enum<E>> E one(String key, String text, Class<E> kind) {
    try {
      return Enum.valueOf(kind, text.toUpperCase(Locale.ROOT));
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(key + " is " + text, e);
    }
  }
}
