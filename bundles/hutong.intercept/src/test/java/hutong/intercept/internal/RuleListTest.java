// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.intercept.PolicyControl.RuleSet;
import hutong.intercept.internal.Rule.Match;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The language of rules: the cases that the shim is tested with, and what only the agent does. */
class RuleListTest {
  private static final Path CASES =
      Path.of(System.getProperty("hutong.abi.header"))
          .resolveSibling("../native-shim/test/policy_cases.txt");

  static List<String> cases() throws IOException {
    List<String> lines =
        Files.readAllLines(CASES).stream().filter(l -> !l.isBlank() && !l.startsWith("#")).toList();
    assertThat(lines).hasSizeGreaterThan(90);
    return lines;
  }

  @ParameterizedTest
  @MethodSource("cases")
  void saysWhatTheShimSays(String line) {
    String[] field = Arrays.stream(line.split("\\|", -1)).map(String::strip).toArray(String[]::new);
    assertThat(field).hasSize(8);
    String[] local = field[6].equals("-") ? null : field[6].split(" ");
    String[] peer = field[7].split(" ");
    Subject subject =
        new Subject(
            () -> List.of(field[3], field[4]),
            Long.parseLong(field[5]),
            Address.parse(peer[0]),
            local == null ? 0 : Integer.parseInt(local[1]),
            Integer.parseInt(peer[1]));
    Policy policy =
        Policy.none()
            .with(RuleSet.INCLUDE, RuleList.of("include", field[1]))
            .with(RuleSet.EXCLUDE, RuleList.of("exclude", field[2]));
    boolean denied = policy.decide(subject).denied();
    String found = policy.problem() != null ? "error" : denied ? "no" : "yes";
    assertThat(found).isEqualTo(field[0]);
    assertThat(denied).isEqualTo(!field[0].equals("yes"));
  }

  private static Match match(String rule, Subject subject) {
    return Rule.parse(rule).match(subject);
  }

  @Test
  void whatIsNotKnownMatchesPerhaps() {
    Subject any = Subject.to(Address.parse("10.77.0.2"));
    assertThat(match("net=10.77.0.0/24", any)).isEqualTo(Match.YES);
    assertThat(match("net=10.78.0.0/24", any)).isEqualTo(Match.NO);
    for (String part : List.of("program=x", "port=5", "uid=0")) {
      assertThat(match(part, any)).as(part).isEqualTo(Match.MAYBE);
      assertThat(match(part + ",net=10.77.0.2", any)).as(part).isEqualTo(Match.MAYBE);
      assertThat(match(part + ",net=10.77.0.3", any)).as(part).isEqualTo(Match.NO);
    }
    Subject port = new Subject(null, Subject.UNKNOWN, any.peer(), Subject.UNKNOWN, 80);
    assertThat(match("port=80", port)).isEqualTo(Match.YES);
    assertThat(match("port=81", port)).as("the own port may be").isEqualTo(Match.MAYBE);
  }

  @Test
  void asksForTheProgramOnlyWhenItMatters() {
    Subject subject =
        new Subject(
            () -> {
              throw new AssertionError("asked");
            },
            0,
            Address.parse("10.77.0.2"),
            1,
            2);
    assertThat(match("program=x,net=10.78.0.0/24", subject)).isEqualTo(Match.NO);
    assertThat(match("program=x,uid=5", subject)).isEqualTo(Match.NO);
    assertThat(match("port=2,uid=0", subject)).isEqualTo(Match.YES);
  }

  @Test
  void showsRulesAsTheyCanBeReadAgain() {
    RuleList list = RuleList.of("x", "  program=a,port=1-2;;net=fd77::/64\tuid=3 ");
    assertThat(list.text()).isEqualTo("program=a,port=1-2 net=fd77::/64 uid=3");
    assertThat(RuleList.of("x", list.text())).isEqualTo(list);
  }

  @Test
  void saysWhatIsWrong() {
    assertThat(RuleList.of("hutong.policy.deny", "net=10.0.0.0/8 prot=5").problem())
        .isEqualTo(
            "hutong.policy.deny: 'prot=5' is not program=NAME, net=ADDRESS[/BITS], port=N[-M] or"
                + " uid=N");
    assertThat(RuleList.of("d", "port=7,net=10.0.0.0/40").problem())
        .isEqualTo("d: 'net=10.0.0.0/40': no such net");
    assertThat(RuleList.of("d", "uid=1,uid=2").problem())
        .isEqualTo("d: 'uid=2': a rule has one uid only");
  }

  @Test
  void neverThrows() {
    long seed = 77;
    Random random = new Random(seed);
    String letters = "program=net=port=uid=0123456789.:/-,; \tf\u00e4\u0000%";
    int good = 0;
    int bad = 0;
    for (int i = 0; i < 50_000; i++) {
      StringBuilder text = new StringBuilder(i % 3 == 0 ? "port=1-9,net=10.0.0.0/8;" : "");
      for (int n = random.nextInt(30); n > 0; n--) {
        text.append(letters.charAt(random.nextInt(letters.length())));
      }
      RuleList list = RuleList.of("x", text.toString());
      if (list.problem() == null) {
        good++;
        assertThat(RuleList.of("x", list.text())).as("seed " + seed + ": " + text).isEqualTo(list);
      } else {
        bad++;
        assertThat(list.rules()).isEmpty();
      }
    }
    assertThat(good).isGreaterThan(100);
    assertThat(bad).isGreaterThan(1_000);
  }
}
