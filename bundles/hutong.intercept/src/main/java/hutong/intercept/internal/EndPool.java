// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.api.transport.Debt;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.abi.Abi;
import hutong.platform.abi.EndLayout;
import hutong.platform.abi.PoolLayout;
import java.io.IOException;

/**
 * A process' end pool, mapped. What stands in it is what the process says: good for display,
 * trusted for nothing. Thread-safe.
 */
final class EndPool implements AutoCloseable {
  /** F_SEAL_FUTURE_WRITE: the agent could not map it to count up notes. */
  private static final int SEAL_FUTURE_WRITE = 16;

  private final Mapping map;
  private final Payer.Closing closing = new Payer.Closing();
  private boolean paid;

  private EndPool(Mapping map) {
    this.map = map;
  }

  /**
   * One slot at a moment.
   *
   * @param index its index
   * @param state {@code enum hut_end_state}, 0 to 4
   * @param pid the process that uses the ring
   * @param fd the descriptor there
   * @param cookie the socket's cookie
   * @param reason why on TCP
   * @param rxPath {@code enum hut_path}
   * @param txPath {@code enum hut_path}
   * @param channel own channel number
   * @param tcpIn bytes received over TCP
   * @param tcpOut bytes sent over TCP
   * @param ringIn bytes received over the ring
   * @param ringOut bytes sent over the ring
   * @param remote whether the other end of its segment is an agent
   */
  record Slot(
      int index,
      int state,
      int pid,
      int fd,
      long cookie,
      Reason reason,
      int rxPath,
      int txPath,
      int channel,
      long tcpIn,
      long tcpOut,
      long ringIn,
      long ringOut,
      boolean remote) {
    private static final String[] STATES = {"FREE", "CANDIDATE", "PENDING", "CHANNEL", "TCP"};

    /** The state's name. */
    String stateName() {
      return STATES[state];
    }

    /** The path as the list of connections has it. */
    String path() {
      if (state != Abi.END_CHANNEL || (rxPath == Abi.PATH_TCP && txPath == Abi.PATH_TCP)) {
        return "TCP";
      }
      if (rxPath != Abi.PATH_RING || txPath != Abi.PATH_RING) {
        return "SWITCHING";
      }
      return remote ? "LIGHT" : "RING";
    }
  }

  /**
   * Maps a pool that a program sent, or that was found in one.
   *
   * @param writable whether notes will be written
   * @throws IOException when it is no pool of this version; nothing is mapped then
   */
  static EndPool open(Memory memory, Fd fd, boolean writable) throws IOException {
    int seals = memory.seals(fd);
    int fixed = Memory.SEAL_SHRINK | Memory.SEAL_GROW;
    // A page that the file no longer has would kill the JVM.
    if ((seals & fixed) != fixed || (seals & (Memory.SEAL_WRITE | SEAL_FUTURE_WRITE)) != 0) {
      throw new IOException("an end pool with seals " + seals);
    }
    if (memory.size(fd) != PoolLayout.SIZE) {
      throw new IOException("an end pool of " + memory.size(fd) + " bytes");
    }
    Mapping map = memory.map(fd, PoolLayout.SIZE, writable);
    if (map.getInt(PoolLayout.MAGIC) != Abi.POOL_MAGIC
        || map.getInt(PoolLayout.VERSION) != Abi.ABI_VERSION
        || map.getInt(PoolLayout.SLOTS) != Abi.POOL_SLOTS) {
      map.close();
      throw new IOException("an end pool of another version");
    }
    return new EndPool(map);
  }

  /** How many slots are worth a look. */
  int used() {
    int used = map.getIntVolatile(PoolLayout.USED);
    return used < 0 || used > Abi.POOL_SLOTS ? Abi.POOL_SLOTS : used;
  }

  /** Reads a slot. */
  Slot slot(int index) {
    int at = PoolLayout.slot(index);
    int state = map.getIntVolatile(at + EndLayout.STATE);
    int reason = map.getInt(at + EndLayout.REASON);
    return new Slot(
        index,
        state < 0 || state > Abi.END_TCP ? Abi.END_FREE : state,
        map.getInt(at + EndLayout.OWNER_PID),
        map.getInt(at + EndLayout.FD),
        map.getLong(at + EndLayout.COOKIE),
        Reason.isKnown(reason) ? Reason.of(reason) : Reason.NONE,
        map.getInt(at + EndLayout.RX_PATH),
        map.getInt(at + EndLayout.TX_PATH),
        map.getInt(at + EndLayout.CHAN),
        map.getLong(at + EndLayout.TCP_IN),
        map.getLong(at + EndLayout.TCP_OUT),
        map.getLong(at + EndLayout.RING_IN),
        map.getLong(at + EndLayout.RING_OUT),
        (map.getInt(at + EndLayout.FLAGS) & Abi.ENDF_REMOTE) != 0);
  }

  /** Whether nobody uses a slot. */
  boolean isFree(int index) {
    return map.getIntVolatile(PoolLayout.slot(index) + EndLayout.STATE) == Abi.END_FREE;
  }

  /**
   * Whether the program has found that the peer rings without end.
   *
   * @param cookie the socket that is meant
   */
  boolean storms(int index, long cookie) {
    int at = PoolLayout.slot(index);
    return map.getLong(at + EndLayout.COOKIE) == cookie
        && (map.getInt(at + EndLayout.FLAGS) & Abi.ENDF_STORM) != 0;
  }

  /**
   * One end, for who must know more of it than is displayed.
   *
   * @param process a handle of the process whose pool this is; it stays the caller's
   * @param pid its number
   */
  ProgramEnd end(int index, Payer payer, Fd process, int pid) {
    int at = PoolLayout.slot(index);
    Payer.Purse purse = new Payer.Purse(process, pid, closing);
    return new ProgramEnd() {
      @Override
      public boolean pay(long cookie, Debt debt) {
        synchronized (EndPool.this) { // not closed meanwhile
          return !paid && payer.pay(map.buffer().slice(at, EndLayout.SIZE), purse, cookie, debt);
        }
      }

      @Override
      public int pid() {
        return (int) read(at + EndLayout.OWNER_PID, false);
      }

      @Override
      public int bell() {
        return (int) read(at + EndLayout.BELL_FD, false);
      }

      @Override
      public int peerBell() {
        return (int) read(at + EndLayout.PEER_BELL_FD, false);
      }

      @Override
      public long sentByTcp() {
        return read(at + EndLayout.TCP_OUT, true);
      }

      @Override
      public long received() {
        return read(at + EndLayout.TCP_IN, true) + read(at + EndLayout.RING_IN, true);
      }
    };
  }

  private long read(int at, boolean wide) {
    try {
      return wide ? map.getLong(at) : map.getInt(at);
    } catch (IllegalStateException e) {
      return 0;
    }
  }

  /** Lets go of what an agent that died over it has locked. */
  void unlock(Payer payer) {
    int used = used();
    for (int i = 0; i < used; i++) {
      payer.unlock(map.buffer().slice(PoolLayout.slot(i), EndLayout.SIZE));
    }
  }

  /** Tells the program that a control message waits. */
  void note(int index) {
    map.getAndAddInt((long) PoolLayout.slot(index) + EndLayout.AGENT_NOTE, 1);
  }

  /** Tells the program that the peer's end is registered no more. */
  void peerGone(int index, long cookie) {
    if (map.getLong(PoolLayout.slot(index) + EndLayout.COOKIE) == cookie) {
      map.putIntVolatile(PoolLayout.slot(index) + EndLayout.AGENT_GONE, 1);
    }
  }

  /**
   * Tells the program to go back to TCP for good. That its peer is gone stays said, whatever else
   * is wanted before the program looks: a stop that nobody answers would keep it waiting for ever.
   *
   * @param cookie the socket that is meant: the program may have given the slot to another
   */
  void stop(int index, long cookie, Reason reason) {
    int at = PoolLayout.slot(index);
    int said = map.getIntVolatile(at + EndLayout.AGENT_STOP);
    boolean gone = said == Reason.POISONED.number() || said == Reason.PEER_STOP.number();
    if (map.getLong(at + EndLayout.COOKIE) == cookie && (!gone || reason == Reason.POISONED)) {
      map.putIntVolatile(at + EndLayout.AGENT_STOP, reason.number());
    }
  }

  /**
   * Writes down which domains share a program's memory, for a later agent.
   *
   * @param cookie the socket that is meant
   * @param self the domain that this VM is now, 0 where that does not matter
   * @param peer the other one
   */
  void shared(int index, long cookie, int self, int peer) {
    int at = PoolLayout.slot(index);
    if (map.getLong(at + EndLayout.COOKIE) == cookie) {
      map.putIntVolatile(at + EndLayout.AGENT_SELF, self);
      map.putIntVolatile(at + EndLayout.AGENT_PEER, peer);
    }
  }

  /** The other domain, as an agent has written it down; 0 if none has. */
  int sharedWith(int index) {
    return map.getIntVolatile(PoolLayout.slot(index) + EndLayout.AGENT_PEER);
  }

  /** The domain that this VM was then; 0 if no agent has written it down. */
  int sharedAs(int index) {
    return map.getIntVolatile(PoolLayout.slot(index) + EndLayout.AGENT_SELF);
  }

  /** Waits for a payment that is under way; there will be no other. */
  synchronized void endPayments() {
    paid = true;
  }

  @Override
  public void close() {
    endPayments();
    map.close();
  }
}
