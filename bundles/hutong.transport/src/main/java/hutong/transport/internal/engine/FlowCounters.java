// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.datagram.DropCause;

/**
 * What a flow did, since it was made. Plain numbers that only the flow's thread writes; another
 * thread sees them late, and perhaps a moment apart.
 */
public final class FlowCounters {
  /** All datagrams sent, control and resent ones too, and their bytes with header and MAC. */
  public long datagramsOut;

  /** Bytes of those. */
  public long bytesOut;

  /** Stream bytes sent for the first time. */
  public long dataBytesOut;

  /** All datagrams taken. */
  public long datagramsIn;

  /** Header and data bytes of those. */
  public long bytesIn;

  /** Stream bytes taken, each once. */
  public long dataBytesIn;

  /** Data datagrams sent again. */
  public long resent;

  /** Times that all unacknowledged data was taken for lost, after 3T without an answer (M3.C). */
  public long silences;

  /** Events of loss at which the congestion window shrank (D4). */
  public long lossEvents;

  /** Datagrams with a request to acknowledge, sent. */
  public long ackRequestsOut;

  /** Those received. */
  public long ackRequestsIn;

  /** Control datagrams that acknowledge, sent. */
  public long acksOut;

  /** Control datagrams received. */
  public long controlsIn;

  /** Datagrams, without data, that ask again after T or for credit, sent. */
  public long asksOut;

  /** Probes sent. */
  public long probesOut;

  /** Probes received and answered. */
  public long probesAnswered;

  /** Resume announcements sent. */
  public long resumesOut;

  /** Control items of unknown kinds, ignored. */
  public long unknownItems;

  /** Smoothed round trip in nanoseconds; 0 before the first measurement. */
  public long roundTripNs;

  private final long[] drops = new long[DropCause.COUNT];

  /** Datagrams dropped for that cause. */
  public long drops(DropCause cause) {
    return drops[cause.ordinal()];
  }

  /** All datagrams dropped. */
  public long drops() {
    long sum = 0;
    for (long n : drops) {
      sum += n;
    }
    return sum;
  }

  void drop(DropCause cause) {
    drops[cause.ordinal()]++;
  }
}
