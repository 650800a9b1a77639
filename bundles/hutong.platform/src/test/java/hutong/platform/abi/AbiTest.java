// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Every Java constant against the C compiler's answer, and every name of the header against the
 * Java classes.
 */
class AbiTest {
  private static final Map<String, Class<?>> STRUCTS =
      Map.of(
          "hut_dir", DirLayout.class,
          "hut_segment", SegmentLayout.class,
          "hut_end", EndLayout.class,
          "hut_pool", PoolLayout.class,
          "hut_member", MemberLayout.class,
          "hut_members", MembersLayout.class,
          "hut_msg", MessageLayout.class);

  private final Path header =
      Path.of(System.getProperty("hutong.abi.header")).toAbsolutePath().normalize();

  private static Map<String, Object> constants(Class<?> layout) throws IllegalAccessException {
    Map<String, Object> out = new LinkedHashMap<>();
    for (Field f : layout.getFields()) {
      if (Modifier.isStatic(f.getModifiers())) {
        out.put(f.getName(), f.get(null));
      }
    }
    return out;
  }

  @Test
  void shouldAgreeWithTheCompiler(@TempDir Path dir) throws Exception {
    Map<String, String> expected = new TreeMap<>();
    StringBuilder c = new StringBuilder();
    c.append("#include <stddef.h>\n#include <stdio.h>\n#include \"").append(header).append("\"\n");
    c.append(
        "#define P(key, value) printf(\"%s=%lld\\n\", key, (long long)(value))\nint main(void) {\n");
    for (Map.Entry<String, Class<?>> s : STRUCTS.entrySet()) {
      for (Map.Entry<String, Object> k : constants(s.getValue()).entrySet()) {
        String key = s.getKey() + "." + k.getKey();
        String field = k.getKey().toLowerCase(Locale.ROOT);
        String expression =
            field.equals("size")
                ? "sizeof(struct " + s.getKey() + ")"
                : "offsetof(struct " + s.getKey() + ", " + field + ")";
        expected.put(key, k.getValue().toString());
        c.append("P(\"").append(key).append("\", ").append(expression).append(");\n");
      }
    }
    for (Map.Entry<String, Object> k : constants(Abi.class).entrySet()) {
      if (k.getValue() instanceof String text) {
        c.append("printf(\"" + k.getKey() + "=%s\\n\", HUT_" + k.getKey() + ");\n");
        expected.put(k.getKey(), text);
      } else {
        c.append("P(\"" + k.getKey() + "\", HUT_" + k.getKey() + ");\n");
        expected.put(k.getKey(), k.getValue().toString());
      }
    }
    c.append("return 0;\n}\n");
    Files.writeString(dir.resolve("abi.c"), c);
    run(dir, "gcc", "-std=c11", "-Wall", "-Werror", "-o", "abi", "abi.c");
    Map<String, String> actual = new TreeMap<>();
    for (String line : run(dir, "./abi").lines().toList()) {
      actual.put(line.substring(0, line.indexOf('=')), line.substring(line.indexOf('=') + 1));
    }
    assertThat(actual).isEqualTo(expected).hasSizeGreaterThan(100);
  }

  @Test
  void shouldHaveEveryFieldOfTheHeader() throws Exception {
    String text = Files.readString(header);
    Map<String, TreeSet<String>> inHeader = new TreeMap<>();
    Matcher struct =
        Pattern.compile("struct (hut_\\w+) \\{(.*?)\n\\};", Pattern.DOTALL).matcher(text);
    while (struct.find()) {
      TreeSet<String> fields = new TreeSet<>();
      Matcher field =
          Pattern.compile("(?m)^\\s*(?:uint\\d+_t|struct \\w+) (\\w+)").matcher(struct.group(2));
      while (field.find()) {
        if (!field.group(1).matches("pad\\d*")) {
          fields.add(field.group(1).toUpperCase(Locale.ROOT));
        }
      }
      fields.add("SIZE");
      inHeader.put(struct.group(1), fields);
    }
    Map<String, TreeSet<String>> inJava = new TreeMap<>();
    for (Map.Entry<String, Class<?>> s : STRUCTS.entrySet()) {
      inJava.put(s.getKey(), new TreeSet<>(constants(s.getValue()).keySet()));
    }
    assertThat(inJava).isEqualTo(inHeader);
  }

  @Test
  void shouldHaveEveryNumberOfTheHeader() throws Exception {
    TreeSet<String> names = new TreeSet<>();
    Matcher m =
        Pattern.compile("(?m)^(?:#define |\\s+)HUT_(\\w+)(?: =)? [\"\\w]")
            .matcher(Files.readString(header));
    while (m.find()) {
      if (!m.group(1).startsWith("R_")) { // hutong.api.intercept.Reason has a test of its own
        names.add(m.group(1));
      }
    }
    assertThat(new TreeSet<>(constants(Abi.class).keySet())).isEqualTo(names);
  }

  private static String run(Path dir, String... command) throws Exception {
    Process p =
        new ProcessBuilder(command).directory(dir.toFile()).redirectErrorStream(true).start();
    String output = new String(p.getInputStream().readAllBytes());
    assertThat(p.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(p.exitValue()).as(output).isZero();
    return output;
  }
}
