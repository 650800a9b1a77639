// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Rows as an aligned text table; numbers are aligned to the right. */
final class Table {
  private static final String GAP = "  ";

  private Table() {}

  /**
   * Renders the columns named by keys of the rows; titles are the keys in capitals.
   *
   * @param keys which columns, in order
   * @param rows the values by key; null is shown as a dash
   * @param whenEmpty the text for no rows
   */
  static String render(List<String> keys, List<Map<String, Object>> rows, String whenEmpty) {
    if (rows.isEmpty()) {
      return whenEmpty;
    }
    List<List<String>> cells = new ArrayList<>();
    cells.add(keys.stream().map(Table::title).toList());
    for (Map<String, Object> row : rows) {
      cells.add(keys.stream().map(key -> text(row.get(key))).toList());
    }
    StringBuilder out = new StringBuilder();
    for (int r = 0; r < cells.size(); r++) {
      StringBuilder line = new StringBuilder();
      for (int c = 0; c < keys.size(); c++) {
        int column = c;
        int width = cells.stream().mapToInt(row -> row.get(column).length()).max().orElse(0);
        boolean right = rows.get(0).get(keys.get(c)) instanceof Number;
        String cell = cells.get(r).get(c);
        String pad = " ".repeat(width - cell.length());
        line.append(c == 0 ? "" : GAP).append(right ? pad + cell : cell + pad);
      }
      out.append(r == 0 ? "" : "\n").append(line.toString().stripTrailing());
    }
    return out.toString();
  }

  private static String title(String key) {
    return key.replaceAll("([A-Z])", "-$1").toUpperCase(java.util.Locale.ROOT);
  }

  private static String text(Object value) {
    if (value == null) {
      return "-";
    }
    String text =
        value instanceof List<?> list
            ? String.join(",", list.stream().map(String::valueOf).toList())
            : String.valueOf(value);
    // names come from programs and peers: they must not steer terminals or break lines
    return text.isEmpty() ? "-" : text.replaceAll("[\\p{Cc}\\p{Cf}\\u2028\\u2029]", "?");
  }
}
