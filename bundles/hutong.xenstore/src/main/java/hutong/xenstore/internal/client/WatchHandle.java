// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.client;

import hutong.api.os.Fd;
import hutong.xenstore.XenStoreException;
import java.util.ArrayList;
import java.util.List;
import jnr.ffi.Pointer;

/**
 * A libxenstore handle for watches only. The first {@code xs_watch} makes the library start a
 * reader thread of its own, which puts events aside and makes a pipe readable. That thread closes
 * the socket when the connection ends, without a word through the pipe, and it does so under the
 * feet of whoever makes a request at that moment; so requests never go through this handle, and its
 * end is noticed by the {@link RequestHandle} beside it.
 */
final class WatchHandle {
  /** The library's pipe; belongs to the handle. */
  private record Pipe(int number) implements Fd {
    @Override
    public boolean isOpen() {
      return true;
    }

    @Override
    public void close() {
      // The library does.
    }
  }

  /** An event: the path that changed and the token of the watch. */
  record Event(String path, String token) {}

  private final Native lib;
  private final Pointer handle;
  private final Fd pipe;
  private boolean closed;

  WatchHandle(Native lib) throws XenStoreException {
    this.lib = lib;
    this.handle = RequestHandle.open(lib);
    int fd = lib.xs.xs_fileno(handle);
    if (fd < 0) {
      lib.xs.xs_close(handle);
      throw new XenStoreException(
          XenStoreException.ENOTCONN, "XenStore: no descriptor for watches");
    }
    this.pipe = new Pipe(fd);
  }

  /** Becomes readable when events wait. */
  Fd pipe() {
    return pipe;
  }

  void watch(String path, String token) throws XenStoreException {
    if (lib.xs.xs_watch(handle, path, token) == 0) {
      throw new XenStoreException(lib.errno(), "XenStore: watch " + path);
    }
  }

  /** Makes a call of {@link #watch} that waits for a store that hangs return with an error. */
  synchronized void breakConnection() {
    if (!closed) {
      lib.breakConnection(handle);
    }
  }

  /** Takes the events that wait; at most so many that a flood cannot hold the caller. */
  synchronized List<Event> drain(int most) {
    List<Event> events = new ArrayList<>();
    while (!closed && events.size() < most) {
      Pointer strings = lib.xs.xs_check_watch(handle);
      if (strings == null) {
        break;
      }
      events.add(
          new Event(
              strings.getPointer(0).getString(0), strings.getPointer(Long.BYTES).getString(0)));
      lib.free(strings);
    }
    return events;
  }

  /** Ends the reader thread and the connection; waits for nothing from the store. */
  synchronized void close() {
    if (!closed) {
      closed = true;
      lib.xs.xs_close(handle);
    }
  }
}
