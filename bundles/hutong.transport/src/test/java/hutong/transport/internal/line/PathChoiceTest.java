// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class PathChoiceTest {
  private static final long MS = 1_000_000;

  private final PathChoice choice = new PathChoice();
  private long now = 1;

  /** Bytes that come back for each that is sent. */
  private double back;

  private double sent;

  /** Sends by TCP for a while; true if the light protocol is to be tried. */
  private boolean tcp(PathChoice.Stream stream, long forMs, double rate) {
    boolean tried = false;
    double bytes = 0;
    for (long ms = 0; ms < forMs && !tried; ms += 10) {
      now += 10 * MS;
      bytes += rate / 100;
      tried = choice.onTcp(stream, (long) bytes, (long) (back * bytes), now);
    }
    return tried;
  }

  /** Sends by the light protocol for a while; true if it has to go back. */
  private boolean light(PathChoice.Stream stream, long forMs, double rate) {
    sent = 0;
    choice.onLight(stream, 0, 0, now);
    return goesOn(stream, forMs, rate);
  }

  private boolean goesOn(PathChoice.Stream stream, long forMs, double rate) {
    boolean leaves = false;
    for (long ms = 0; ms < forMs && !leaves; ms += 10) {
      now += 10 * MS;
      sent += rate / 100;
      leaves = choice.onTime(stream, (long) sent, (long) (back * sent), now);
    }
    return leaves;
  }

  @Test
  void shouldTryBulkOnly() {
    assertThat(tcp(new PathChoice.Stream("a"), 5_000, 1e6)).isFalse();
    assertThat(tcp(new PathChoice.Stream("a"), 900, 100e6)).isFalse();
    assertThat(tcp(new PathChoice.Stream("a"), 1_500, 100e6)).isTrue();
  }

  @Test
  void shouldLeaveExchangesOnTcpHoweverLargeTheirMessages() {
    PathChoice.Stream stream = new PathChoice.Stream("a");
    back = 0.5;
    assertThat(tcp(stream, 10_000, 100e6)).isFalse();
    back = 0.1;
    assertThat(tcp(stream, 1_500, 100e6)).as("a stream with answers").isTrue();
    assertThat(light(stream, 1_000, 119e6)).isFalse();
    back = 1;
    assertThat(light(stream, 1_000, 119e6)).as("has become one").isTrue();
    back = 0;
    assertThat(tcp(new PathChoice.Stream("a"), 1_500, 100e6)).as("not the path's fault").isTrue();
  }

  @Test
  void shouldStayWhereItIsNoSlower() {
    PathChoice.Stream stream = new PathChoice.Stream("a");
    tcp(stream, 1_500, 117.7e6);
    assertThat(light(stream, 60_000, 119.3e6)).isFalse();
  }

  @Test
  void shouldMeasureAnewWhatHasBecomeFarSlower() {
    PathChoice.Stream stream = new PathChoice.Stream("a");
    tcp(stream, 1_500, 117.7e6);
    assertThat(light(stream, 10_000, 119.3e6)).isFalse();
    assertThat(goesOn(stream, 900, 40e6)).as("a bad moment").isFalse();
    assertThat(goesOn(stream, 10_000, 119.3e6)).isFalse();
    assertThat(goesOn(stream, 1_500, 40e6)).isTrue();
    // It was the program: TCP is no faster, and from now on that is its rate.
    assertThat(tcp(stream, 1_500, 40e6)).isTrue();
    assertThat(light(stream, 60_000, 40e6)).isFalse();
  }

  @Test
  void shouldMeasureWhatAnEarlierAgentHasTried() {
    PathChoice.Stream stream = new PathChoice.Stream("a");
    assertThat(light(stream, 1_000, 119.3e6)).isTrue();
    assertThat(tcp(stream, 1_500, 117.7e6)).isTrue();
    assertThat(light(stream, 60_000, 119.3e6)).isFalse();
  }

  @Test
  void shouldGoBackWhereItIsSlowerAndRememberIt() {
    PathChoice.Stream stream = new PathChoice.Stream("a");
    tcp(stream, 1_500, 2e9);
    assertThat(light(stream, 100, 2e8)).as("in its beginning, and soon").isTrue();
    assertThat(tcp(stream, 2_500, 2e9)).isFalse();
    assertThat(tcp(stream, 1_500, 2e9)).as("the agent may just have started").isTrue();
    assertThat(light(stream, 40, 2e8)).isTrue();
    assertThat(tcp(stream, 50_000, 2e9)).isFalse();
    assertThat(tcp(new PathChoice.Stream("a"), 1_500, 2e9)).isFalse();
    assertThat(tcp(new PathChoice.Stream("b"), 1_500, 2e9)).isTrue();
    assertThat(tcp(stream, 20_000, 2e9)).isTrue();
  }

  @Test
  void shouldTrySoonAgainWhatAnAgentThatWarmsUpMayGiveYet() {
    PathChoice.Stream stream = new PathChoice.Stream("a");
    tcp(stream, 1_500, 117e6);
    assertThat(light(stream, 1_000, 25e6)).isTrue();
    assertThat(tcp(stream, 4_500, 117e6)).isTrue();
    assertThat(light(stream, 1_000, 40e6)).as("far off").isTrue();
    assertThat(tcp(stream, 5_500, 117e6)).isFalse();
    assertThat(tcp(stream, 2_500, 117e6)).isTrue();
    assertThat(light(stream, 60_000, 119e6)).isFalse();
  }

  @Test
  void shouldTrySoonAgainAfterANarrowLoss() {
    PathChoice.Stream stream = new PathChoice.Stream("a");
    tcp(stream, 1_500, 117e6);
    assertThat(light(stream, 1_000, 90e6)).isTrue();
    assertThat(tcp(stream, 2_500, 117e6)).isFalse();
    assertThat(tcp(stream, 1_500, 117e6)).isTrue();
    assertThat(light(stream, 1_000, 90e6)).isTrue();
    assertThat(tcp(stream, 5_500, 117e6)).isFalse();
    assertThat(tcp(stream, 2_500, 117e6)).isTrue();
  }

  @Test
  void shouldCompareWithMoreThanAMoment() {
    PathChoice.Stream stream = new PathChoice.Stream("a");
    tcp(stream, 900, 117e6);
    choice.onTcp(stream, (long) (0.9 * 117e6 + 0.2 * 130e6), 0, now += 200 * MS);
    assertThat(light(stream, 1_000, 118e6)).isFalse();
    PathChoice.Stream other = new PathChoice.Stream("b");
    tcp(other, 1_500, 117e6);
    choice.onLight(other, 0, 0, now);
    assertThat(choice.onTime(other, 1_000_000, 0, now += 100 * MS)).as("cold").isFalse();
    assertThat(choice.onTime(other, 11_000_000, 0, now += 200 * MS)).isFalse();
    assertThat(choice.onTime(other, 31_000_000, 0, now += 200 * MS)).as("a bad moment").isFalse();
    assertThat(choice.onTime(other, 55_000_000, 0, now += 200 * MS)).as("no slower").isFalse();
    assertThat(choice.onTime(other, 71_000_000, 0, now += 200 * MS)).as("judged").isFalse();
  }

  @Test
  void shouldGoBackWhenTheStreamIsBulkNoMore() {
    PathChoice.Stream stream = new PathChoice.Stream("a");
    tcp(stream, 1_500, 117e6);
    assertThat(light(stream, 1_000, 119e6)).isFalse();
    assertThat(choice.due(stream)).isLessThan(Long.MAX_VALUE);
    now += 400 * MS;
    assertThat(choice.onTime(stream, 0, 0, now)).isTrue();
    assertThat(tcp(new PathChoice.Stream("a"), 1_500, 117e6)).as("not the path's fault").isTrue();
  }
}
