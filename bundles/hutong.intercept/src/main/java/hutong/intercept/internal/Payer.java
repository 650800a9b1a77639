// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.api.transport.Debt;
import hutong.platform.OsException;
import hutong.platform.Processes;
import hutong.platform.SocketFacts;
import hutong.platform.Sockets;
import hutong.platform.abi.Abi;
import hutong.platform.abi.EndLayout;
import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.OptionalLong;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Sends by TCP what a program owes after a stop (rule 7). The program does that itself at its next
 * call; one that makes none for long would let its peer wait as long, or for ever. So the agent
 * does it in its place, on the program's own socket, under the program's own lock, and leaves the
 * cursors as the program would.
 *
 * <p>An agent may die in the middle. What it has locked is let go by the program or by the next
 * agent, and how much it had sent both ask the kernel, since {@code HUT_ENDF_PAYER} stands from
 * before the first byte until the cursors are right again; the sum {@code TCP_OUT + RING_OUT}, the
 * place in the stream from which TCP goes on, is right at each moment.
 *
 * <p>Everything in a slot is what the program says: it can harm only its own connection, and take
 * little of the caller's time. Any thread; a slot is given as its bytes in host order.
 */
final class Payer implements AutoCloseable {
  private static final VarHandle INT =
      MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());
  private static final VarHandle LONG =
      MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.nativeOrder());

  private static final String SOCKET_LINK = "socket:[";
  private static final int PART = 64 << 10;

  /** No more in one turn: others wait. */
  private static final int TURN = 256 << 10;

  /** A program with more descriptors than this keeps what it has under an unknown number. */
  private static final int MOST_DESCRIPTORS = 1024;

  /** No round has this number. */
  private static final int NEVER = 0;

  /** How long a payment waits for the copy of the socket to be closed. */
  private static final long CLOSE_MS = 20;

  /** So many programs' sockets may be waiting to be closed; then nobody is paid. */
  private static final int MOST_CLOSING = 16;

  private static final long IDLE_SECONDS = 10;

  private final Processes processes;
  private final Sockets sockets;
  private final int mark;
  private final ProcFs proc = new ProcFs(Path.of("/proc"));
  private final ThreadPoolExecutor closer =
      new ThreadPoolExecutor(
          0,
          Integer.MAX_VALUE, // pay() sees to the limit: to wait here would be to wait for a program
          IDLE_SECONDS,
          TimeUnit.SECONDS,
          new SynchronousQueue<>(),
          task -> {
            Thread thread = new Thread(task, "hutong-closer");
            thread.setDaemon(true);
            return thread;
          });

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

  /** What this agent puts into a lock that it holds. */
  int mark() {
    return mark;
  }

  /** The last close of a copy of one program's sockets. Guarded by its pool. */
  static final class Closing {
    private Future<?> last;

    private boolean goesOn() {
      return last != null && !last.isDone();
    }
  }

  /** Where one program's socket is found. Guarded by its pool. */
  static final class Purse {
    private final Fd process;
    private final int pid;
    private final Closing closing;
    private int found = -1;
    private int soughtIn = NEVER;

    /**
     * Makes one.
     *
     * @param process a handle of the process
     * @param pid its number
     * @param closing the same for all of that process
     */
    Purse(Fd process, int pid, Closing closing) {
      this.process = process;
      this.pid = pid;
      this.closing = closing;
    }
  }

  /**
   * Pays as far as it goes without waiting.
   *
   * @param cookie of the socket that is meant
   * @return whether anything has changed
   */
  boolean pay(ByteBuffer end, Purse purse, long cookie, Debt debt) {
    end = end.order(ByteOrder.nativeOrder());
    int path = get(end, EndLayout.TX_PATH);
    if (get(end, EndLayout.TX_ROUND) != debt.round()
        || (path != Abi.PATH_RING && path != Abi.PATH_DRAIN)
        || purse.closing.goesOn()
        || closer.getActiveCount() >= MOST_CLOSING) {
      return false;
    }
    Fd socket = socket(end, purse, cookie, debt.round());
    if (socket == null) {
      return false; // the program is gone
    }
    boolean locked = INT.compareAndSet(end, EndLayout.TX_LOCK, 0, mark); // else it does so itself
    try {
      // Only now: the slot may have become another connection's.
      return locked
          && (long) LONG.getAcquire(end, EndLayout.COOKIE) == cookie
          && get(end, EndLayout.STATE) == Abi.END_CHANNEL
          && get(end, EndLayout.TX_ROUND) == debt.round()
          && settled(end, socket)
          && pay(end, socket, debt);
    } catch (IOException e) {
      return false; // the connection is gone: nobody waits for bytes of it
    } finally {
      close(socket, purse); // under the lock: it would hold back the program's FIN (rule 19)
      if (locked) {
        INT.compareAndSet(end, EndLayout.TX_LOCK, mark, 0);
      }
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
   * The last close of a socket with SO_LINGER waits, for as long as its program has said; the last
   * it is when the program has closed, or died, meanwhile. So another thread does it, and that
   * program is not paid for while it waits: a wait for each of many sockets would be a long one.
   */
  private void close(Fd socket, Purse purse) {
    try {
      purse.closing.last = closer.submit(socket::close);
      purse.closing.last.get(CLOSE_MS, TimeUnit.MILLISECONDS);
    } catch (TimeoutException | ExecutionException e) {
      // goesOn() sees to it; and a close cannot fail
    } catch (RejectedExecutionException | Error e) {
      socket.close(); // this agent ends, or gets no thread
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** The program's socket. The number is what the program says, so the cookie decides. */
  private Fd socket(ByteBuffer end, Purse purse, long cookie, int round) {
    Fd socket = socket(purse, get(end, EndLayout.FD), cookie);
    if (socket == null && purse.found >= 0 && !purse.closing.goesOn()) {
      socket = socket(purse, purse.found, cookie);
    }
    if (socket != null || purse.soughtIn == round || purse.closing.goesOn()) {
      return socket;
    }
    // Closed under that number: a copy of it is in use, which only the process' list tells; once.
    purse.soughtIn = round;
    for (ProcFs.Descriptor descriptor : proc.descriptors(purse.pid, MOST_DESCRIPTORS)) {
      if (purse.closing.goesOn()) {
        purse.soughtIn = NEVER;
        return null;
      }
      if (descriptor.target().startsWith(SOCKET_LINK)) {
        socket = socket(purse, descriptor.fd(), cookie);
        if (socket != null) {
          purse.found = descriptor.fd();
          return socket;
        }
      }
    }
    return null;
  }

  private Fd socket(Purse purse, int fd, long cookie) {
    Fd copy = null;
    try {
      copy = processes.pidfdGetfd(purse.process, fd);
      SocketFacts facts = sockets.tcpFacts(copy);
      // A send would take the error of a connection that was reset, which is for the program.
      if (facts.cookie() == cookie && facts.state() != SocketFacts.TCP_CLOSE) {
        Fd found = copy;
        copy = null;
        return found;
      }
    } catch (OsException | IllegalStateException e) {
      return null; // not open, or no socket; or the program is gone
    } finally {
      if (copy != null) {
        close(copy, purse);
      }
    }
    return null;
  }

  /** What an agent that died over it has sent is counted. */
  private boolean settled(ByteBuffer end, Fd socket) throws OsException {
    int flags = get(end, EndLayout.FLAGS);
    if ((flags & Abi.ENDF_PAYER) == 0) {
      return true;
    }
    OptionalLong given = sockets.tcpSent(socket);
    if (given.isEmpty()) {
      return false;
    }
    long sent = given.getAsLong() - ((flags & Abi.ENDF_ACTIVE) != 0 ? 1 : 0);
    end.putLong(EndLayout.TX_HEAD, sent + end.getLong(EndLayout.RING_OUT));
    LONG.setRelease(end, EndLayout.TCP_OUT, sent);
    INT.getAndBitwiseAnd(end, EndLayout.FLAGS, ~Abi.ENDF_PAYER);
    return true;
  }

  private boolean pay(ByteBuffer end, Fd socket, Debt debt) throws OsException {
    if (get(end, EndLayout.TX_PATH) == Abi.PATH_DRAIN) {
      return send(end, socket, debt);
    }
    if (!accept(end, debt)) {
      return false;
    }
    send(end, socket, debt);
    return true;
  }

  /** The program has not seen its stop. */
  private static boolean accept(ByteBuffer end, Debt debt) {
    if (get(end, EndLayout.TX_PATH) != Abi.PATH_RING) {
      return false;
    }
    long tail = end.getLong(EndLayout.TX_TAIL);
    long at = debt.accept();
    if (at < 0) {
      return false;
    }
    long from = Math.max(at, end.getLong(EndLayout.TX_START));
    if (from < end.getLong(EndLayout.TX_HEAD) || !owes(from, tail, debt)) {
      return false; // the program will find that out, too
    }
    end.putLong(EndLayout.TX_HEAD, from);
    // Not by what it was: an agent may have died when it had done just this.
    end.putLong(EndLayout.RING_OUT, from - end.getLong(EndLayout.TCP_OUT));
    INT.setRelease(end, EndLayout.REASON, Reason.PEER_STOP.number());
    // Release: the cursors before the path that they are for.
    INT.setRelease(end, EndLayout.TX_PATH, Abi.PATH_DRAIN);
    return true;
  }

  private static boolean owes(long from, long tail, Debt debt) {
    return from <= tail && tail - from >= 0 && tail - from <= debt.most();
  }

  private boolean send(ByteBuffer end, Fd socket, Debt debt) throws OsException {
    long head = end.getLong(EndLayout.TX_HEAD);
    long tail = end.getLong(EndLayout.TX_TAIL);
    if (!owes(head, tail, debt)) {
      return false;
    }
    long begin = head;
    long last = Math.min(tail, head + TURN);
    // Before the first byte: from here on only the kernel knows, should this agent die.
    INT.getAndBitwiseOr(end, EndLayout.FLAGS, Abi.ENDF_PAYER);
    try {
      for (int n = 1; head < last && n > 0; head += n) {
        byte[] part = new byte[(int) Math.min(PART, last - head)];
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
    return head > begin || head == tail;
  }

  /** Ends; a close that waits goes on. */
  @Override
  public void close() {
    closer.shutdown();
  }

  private static int get(ByteBuffer end, int at) {
    return (int) INT.getAcquire(end, at);
  }
}
