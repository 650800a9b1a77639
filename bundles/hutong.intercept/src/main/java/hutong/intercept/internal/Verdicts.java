// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.Reason;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Why the latest registrations came to nothing, by socket cookie, which is never used again: the
 * shim forgets such connections. For display only. Thread-safe.
 */
final class Verdicts {
  private static final int MOST = 4096;

  private final Map<Long, Reason> byCookie =
      new LinkedHashMap<>() {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<Long, Reason> eldest) {
          return size() > MOST;
        }
      };

  /** Notes a reason of a socket whose cookie was checked. */
  synchronized void note(long cookie, Reason reason) {
    if (reason != Reason.NONE) {
      byCookie.put(cookie, reason);
    }
  }

  /** Forgets a socket: it is registered again. */
  synchronized void clear(long cookie) {
    byCookie.remove(cookie);
  }

  /** The reason of a socket, or NONE if none is known. */
  synchronized Reason of(long cookie) {
    return byCookie.getOrDefault(cookie, Reason.NONE);
  }
}
