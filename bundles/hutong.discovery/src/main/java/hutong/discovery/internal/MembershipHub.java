// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.discovery.HostNotice;
import hutong.api.discovery.Member;
import hutong.api.discovery.Membership;
import hutong.api.discovery.MembershipListener;
import hutong.api.discovery.MembershipSnapshot;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;

/**
 * Holds the current members and tells the listeners, each once when it comes and then when
 * something changed. All calls of listeners are made on one thread, so that each sees the changes
 * in order.
 */
final class MembershipHub implements Membership {
  private final Executor executor;
  private final Tally tally;
  private final Set<MembershipListener> listeners = new LinkedHashSet<>();
  private volatile MembershipSnapshot current = new MembershipSnapshot(0, List.of());
  private volatile HostNotice notice = HostNotice.NONE;

  /**
   * Creates the hub.
   *
   * @param executor runs tasks on the one thread
   * @param tally told about listeners that fail
   */
  MembershipHub(Executor executor, Tally tally) {
    this.executor = executor;
    this.tally = tally;
  }

  @Override
  public MembershipSnapshot current() {
    return current;
  }

  /** Makes these the members; on the one thread. Returns whether that was a change. */
  boolean publish(List<Member> members) {
    if (members.equals(current.members())) {
      return false;
    }
    current = new MembershipSnapshot(current.version() + 1, members);
    all().forEach(this::tell);
    return true;
  }

  /** Passes on what domain 0 says; on the one thread. */
  void notice(HostNotice news) {
    if (!news.equals(notice)) {
      notice = news;
      all().forEach(this::tellNotice);
    }
  }

  private Set<MembershipListener> all() {
    synchronized (listeners) {
      return new LinkedHashSet<>(listeners);
    }
  }

  void add(MembershipListener listener) {
    execute(
        () -> {
          synchronized (listeners) {
            listeners.add(listener);
          }
          tell(listener);
          if (!notice.equals(HostNotice.NONE)) {
            tellNotice(listener);
          }
        });
  }

  void remove(MembershipListener listener) {
    execute(
        () -> {
          synchronized (listeners) {
            listeners.remove(listener);
          }
        });
  }

  private void execute(Runnable task) {
    try {
      executor.execute(task);
    } catch (RejectedExecutionException e) {
      // The bundle stops: nobody is told anything any more.
    }
  }

  private void tell(MembershipListener listener) {
    try {
      listener.membershipChanged(current);
    } catch (RuntimeException | LinkageError e) {
      tally.warn("a membership listener failed: " + e);
    }
  }

  private void tellNotice(MembershipListener listener) {
    try {
      listener.hostChanged(notice);
    } catch (RuntimeException | LinkageError e) {
      tally.warn("a membership listener failed: " + e);
    }
  }
}
