// SPDX-License-Identifier: Apache-2.0
package hutong.it;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Reads JSON as RFC 8259 has it, and nothing more lenient. */
final class StrictJson {
  private static final Pattern TOKEN =
      Pattern.compile(
          "\\s*(?:(?<mark>[\\[\\]{},:])"
              + "|(?<text>\"(?:[^\"\\\\\\x00-\\x1f]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4})*\")"
              + "|(?<number>-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)(?![\\w.])"
              + "|(?<word>true|false|null)(?!\\w)|(?<end>\\z))");

  private final Matcher in;
  private String mark;
  private Object value;
  private boolean atEnd;

  private StrictJson(String text) {
    in = TOKEN.matcher(text);
    next();
  }

  static Object parse(String text) {
    StrictJson json = new StrictJson(text);
    Object out = json.value();
    if (!json.atEnd) {
      throw new IllegalArgumentException("more after the value in " + text);
    }
    return out;
  }

  private void next() {
    if (!in.lookingAt()) {
      throw new IllegalArgumentException("no JSON from offset " + in.regionStart());
    }
    mark = in.group("mark");
    atEnd = in.group("end") != null;
    value = null;
    if (in.group("text") != null) {
      String raw = in.group("text");
      value =
          Pattern.compile("\\\\u(....)|\\\\(.)")
              .matcher(raw.substring(1, raw.length() - 1))
              .replaceAll(
                  m ->
                      Matcher.quoteReplacement(
                          m.group(1) == null
                              ? m.group(2)
                              : String.valueOf((char) Integer.parseInt(m.group(1), 16))));
    } else if (in.group("number") != null) {
      value = Double.valueOf(in.group("number"));
    } else if (in.group("word") != null && !in.group("word").equals("null")) {
      value = Boolean.valueOf(in.group("word"));
    }
    in.region(in.end(), in.regionEnd());
  }

  private Object value() {
    if (mark == null) {
      if (atEnd) {
        throw new IllegalArgumentException("a value is missing");
      }
      Object out = value;
      next();
      return out;
    }
    return switch (mark) {
      case "[" -> array();
      case "{" -> object();
      default -> throw new IllegalArgumentException("unexpected " + mark);
    };
  }

  private List<Object> array() {
    List<Object> out = new ArrayList<>();
    next();
    if (is("]")) {
      next();
      return out;
    }
    do {
      out.add(value());
    } while (more("]"));
    return out;
  }

  private Map<String, Object> object() {
    Map<String, Object> out = new LinkedHashMap<>();
    next();
    if (is("}")) {
      next();
      return out;
    }
    do {
      if (mark != null || !(value instanceof String key)) {
        throw new IllegalArgumentException("a key is missing");
      }
      next();
      expect(":");
      if (out.containsKey(key)) {
        throw new IllegalArgumentException("twice: " + key);
      }
      out.put(key, value());
    } while (more("}"));
    return out;
  }

  private boolean is(String expected) {
    return expected.equals(mark);
  }

  private void expect(String expected) {
    if (!is(expected)) {
      throw new IllegalArgumentException("no " + expected);
    }
    next();
  }

  private boolean more(String end) {
    if (is(",")) {
      next();
      return true;
    }
    expect(end);
    return false;
  }
}
