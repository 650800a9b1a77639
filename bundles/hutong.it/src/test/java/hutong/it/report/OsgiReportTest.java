// SPDX-License-Identifier: Apache-2.0
package hutong.it.report;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;

/**
 * Shows each in-framework test to Surefire, and fails when the tester ran none: it says "No Errors"
 * then.
 */
class OsgiReportTest {
  @TestFactory
  Stream<DynamicTest> inFramework() throws Exception {
    List<DynamicTest> tests = new ArrayList<>();
    Set<String> classes = new TreeSet<>();
    for (Path report : files(Path.of("target/test-reports"), "TEST-.*\\.xml")) {
      NodeList cases =
          DocumentBuilderFactory.newInstance()
              .newDocumentBuilder()
              .parse(report.toFile())
              .getElementsByTagName("testcase");
      for (int i = 0; i < cases.getLength(); i++) {
        Element test = (Element) cases.item(i);
        boolean bad =
            test.getElementsByTagName("failure").getLength()
                    + test.getElementsByTagName("error").getLength()
                    + test.getElementsByTagName("skipped").getLength()
                > 0;
        classes.add(test.getAttribute("classname"));
        String name = test.getAttribute("classname") + "." + test.getAttribute("name");
        tests.add(DynamicTest.dynamicTest(name, () -> assertFalse(bad, name)));
      }
    }
    for (Path source : files(Path.of("src/main/java"), ".*Test\\.java")) {
      String name = source.getFileName().toString().replace(".java", "");
      assertTrue(
          classes.stream().anyMatch(c -> c.endsWith("." + name)),
          "the OSGi tester ran no test of " + name);
    }
    assertFalse(tests.isEmpty(), "the OSGi tester ran no test");
    return tests.stream();
  }

  private static List<Path> files(Path root, String name) throws Exception {
    try (Stream<Path> all = Files.walk(root)) {
      return all.filter(f -> f.getFileName().toString().matches(name)).collect(Collectors.toList());
    }
  }
}
