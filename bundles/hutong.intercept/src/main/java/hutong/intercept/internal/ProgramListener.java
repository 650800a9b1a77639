// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.os.Fd;
import hutong.api.telemetry.EventLog;
import hutong.platform.EventLoop;
import hutong.platform.Poller;
import hutong.platform.Sockets;
import java.io.IOException;
import java.time.Duration;
import java.util.function.Consumer;

/**
 * The socket where programs connect. All of it belongs to the loop, but for {@link #listening}.
 * Neither a name that is taken, as by an agent that is just ending, nor a want of descriptors ends
 * it: it tries again each second.
 */
final class ProgramListener implements AutoCloseable {
  private static final Duration RETRY = Duration.ofSeconds(1);
  private static final int BACKLOG = 1024;

  /** What is to be done with the socket. */
  interface Bound {
    /**
     * It has its name.
     *
     * @throws IOException to have it closed, and all of it tried again
     */
    void bound(Fd socket) throws IOException;
  }

  private final EventLoop loop;
  private final Sockets sockets;
  private final String address;
  private final Consumer<Fd> connected;
  private final EventLog log;
  private volatile boolean listening;
  private Fd listener;

  /**
   * Does nothing yet.
   *
   * @param address abstract Unix address
   * @param connected takes a program's connection, which becomes its own
   */
  ProgramListener(
      EventLoop loop, Sockets sockets, String address, Consumer<Fd> connected, EventLog log) {
    this.loop = loop;
    this.sockets = sockets;
    this.address = address;
    this.connected = connected;
    this.log = log;
  }

  /**
   * Listens as soon as that can be.
   *
   * @param whenBound told of the socket, when the name is ours and before anybody is accepted
   * @param whenListening run once programs can connect
   */
  void open(Bound whenBound, Runnable whenListening) {
    try {
      Fd socket = sockets.unixSeqpacketListenAbstract(address, BACKLOG);
      listener = socket;
      whenBound.bound(socket);
      loop.add(socket, Poller.IN, events -> accept());
      listening = true;
      whenListening.run();
    } catch (IOException e) {
      close();
      log.error("intercept", "cannot listen for programs, trying again: " + e.getMessage());
      loop.schedule(RETRY, () -> open(whenBound, whenListening));
    }
  }

  private void accept() {
    try {
      for (Fd socket; (socket = sockets.accept(listener)) != null; ) {
        connected.accept(socket);
      }
    } catch (IOException e) {
      warn("accept", e);
      pause();
    }
  }

  /** Without descriptors the listener would be reported for ever. */
  private void pause() {
    try {
      loop.modify(listener, 0);
      loop.schedule(RETRY, () -> resume(listener));
    } catch (IOException e) {
      warn("listener", e);
    }
  }

  private void resume(Fd paused) {
    try {
      if (paused.isOpen()) {
        loop.modify(paused, Poller.IN);
      }
    } catch (IOException e) {
      warn("listener", e);
    }
  }

  private void warn(String what, IOException e) {
    log.warn("intercept", what + ": " + e);
  }

  /** Whether programs can connect; any thread. */
  boolean listening() {
    return listening;
  }

  @Override
  public void close() {
    listening = false;
    if (listener != null) {
      loop.remove(listener);
      listener.close();
      listener = null;
    }
  }
}
