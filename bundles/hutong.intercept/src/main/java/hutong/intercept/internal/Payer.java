// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.api.transport.Debt;
import hutong.platform.OsException;
import hutong.platform.Processes;
import hutong.platform.Sockets;
import hutong.platform.abi.Abi;
import hutong.platform.abi.EndLayout;
import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;

/**
 * Sends by TCP what a program owes after a stop (rule 7). The program does that itself at its next
 * call; one that makes none for long would let its peer wait as long, or for ever. So the agent
 * does it in its place, on the program's own socket, under the program's own lock, and leaves the
 * cursors as the program would.
 *
 * <p>An agent may die in the middle. What it has locked is let go by the program or by the next
 * agent, and how much it had sent the program asks the kernel, since {@code HUT_ENDF_PAYER} stands
 * from before the first byte until the cursors are right again. Any thread; a slot is given as its
 * bytes in host order.
 */
final class Payer {
  private static final VarHandle INT =
      MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());
  private static final VarHandle LONG =
      MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.nativeOrder());

  private static final String SOCKET_LINK = "socket:[";
  private static final int PART = 64 << 10;

  /** A ring and its overflow, whatever their sizes: more cannot be owed. */
  private static final long MOST = 1L << 32;

  private final Processes processes;
  private final Sockets sockets;
  private final int mark;
  private final ProcFs proc = new ProcFs(Path.of("/proc"));

  /**
   * Makes a payer.
   *
   * @param life a number of this agent's life
   */
  Payer(Processes processes, Sockets sockets, int life) {
    this.processes = processes;
    this.sockets = sockets;
    this.mark = life & Abi.LOCK_AGENT - 1 | Abi.LOCK_AGENT;
  }

  /**
   * Pays as far as it goes without waiting.
   *
   * @param cookie of the socket that is meant
   * @return whether nothing is owed any more
   */
  boolean pay(ByteBuffer end, long cookie, Debt debt) {
    end = end.order(ByteOrder.nativeOrder());
    if ((long) LONG.getAcquire(end, EndLayout.COOKIE) != cookie
        || get(end, EndLayout.STATE) != Abi.END_CHANNEL
        || !INT.compareAndSet(end, EndLayout.TX_LOCK, 0, mark)) {
      return false; // another's slot by now, or the program is just doing it
    }
    try (Fd socket = socket(end, cookie)) {
      return socket != null && owes(end, debt) && send(end, socket, debt);
    } catch (IOException e) {
      return false; // the program is gone, or the connection is: nobody waits for bytes of it
    } finally {
      INT.setRelease(end, EndLayout.TX_LOCK, 0);
    }
  }

  /** Lets go of what another agent has locked. */
  void unlock(ByteBuffer end) {
    end = end.order(ByteOrder.nativeOrder());
    int holder = get(end, EndLayout.TX_LOCK);
    if ((holder & Abi.LOCK_AGENT) != 0 && holder != mark) {
      INT.compareAndSet(end, EndLayout.TX_LOCK, holder, 0);
    }
  }

  /**
   * The program's socket; the copy lives for one payment only, since it would hold back the FIN
   * (rule 19). Process and number are what the program says, so the cookie decides.
   */
  private Fd socket(ByteBuffer end, long cookie) throws OsException {
    int pid = get(end, EndLayout.OWNER_PID);
    try (Fd process = processes.pidfdOpen(pid)) {
      Fd socket = socket(process, get(end, EndLayout.FD), cookie);
      if (socket != null) {
        return socket;
      }
      // Closed under that number: a copy of it is in use, which only the process' list tells.
      for (ProcFs.Descriptor descriptor : proc.descriptors(pid)) {
        if (descriptor.target().startsWith(SOCKET_LINK)) {
          socket = socket(process, descriptor.fd(), cookie);
          if (socket != null) {
            return socket;
          }
        }
      }
      return null;
    }
  }

  private Fd socket(Fd process, int fd, long cookie) {
    Fd copy = null;
    try {
      copy = processes.pidfdGetfd(process, fd);
      if (sockets.tcpFacts(copy).cookie() == cookie) {
        Fd found = copy;
        copy = null;
        return found;
      }
    } catch (OsException e) {
      return null; // not open, or no socket
    } finally {
      if (copy != null) {
        copy.close();
      }
    }
    return null;
  }

  /** Is something owed in that round? Accepts the stop if the program has not done so. */
  private static boolean owes(ByteBuffer end, Debt debt) {
    if (get(end, EndLayout.TX_ROUND) != debt.round()
        || (get(end, EndLayout.FLAGS) & Abi.ENDF_PAYER) != 0) {
      return false; // not written down yet: only the program can count it
    }
    int path = get(end, EndLayout.TX_PATH);
    if (path != Abi.PATH_RING) {
      return path == Abi.PATH_DRAIN;
    }
    long tail = end.getLong(EndLayout.TX_TAIL);
    long at = debt.accept();
    if (at < 0) {
      return false;
    }
    long from = Math.max(at, end.getLong(EndLayout.TX_START));
    if (from < end.getLong(EndLayout.TX_HEAD) || from > tail || tail - from > MOST) {
      return false; // the program will find that out, too
    }
    end.putLong(EndLayout.TX_HEAD, from);
    end.putLong(EndLayout.RING_OUT, end.getLong(EndLayout.RING_OUT) - (tail - from));
    INT.setRelease(end, EndLayout.REASON, Reason.PEER_STOP.number());
    // Release: the cursors before the path that they are for.
    INT.setRelease(end, EndLayout.TX_PATH, Abi.PATH_DRAIN);
    return true;
  }

  private boolean send(ByteBuffer end, Fd socket, Debt debt) throws OsException {
    long head = end.getLong(EndLayout.TX_HEAD);
    long tail = end.getLong(EndLayout.TX_TAIL);
    if (head > tail || tail - head < 0 || tail - head > MOST) {
      return false;
    }
    // Before the first byte: from here on only the kernel knows, should this agent die.
    INT.getAndBitwiseOr(end, EndLayout.FLAGS, Abi.ENDF_PAYER);
    try {
      for (int n = 1; head < tail && n > 0; head += n) {
        byte[] part = new byte[(int) Math.min(PART, tail - head)];
        debt.copy(head, part.length, ByteBuffer.wrap(part));
        n = sockets.sendStream(socket, part);
        end.putLong(EndLayout.TX_HEAD, head + n);
        LONG.getAndAdd(end, EndLayout.TCP_OUT, (long) n);
      }
    } finally {
      INT.getAndBitwiseAnd(end, EndLayout.FLAGS, ~Abi.ENDF_PAYER);
    }
    if (head == tail) {
      debt.paid();
    }
    return head == tail;
  }

  private static int get(ByteBuffer end, int at) {
    return (int) INT.getAcquire(end, at);
  }
}
