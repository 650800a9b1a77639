// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What an agent leaves of its lines for the next one. */
class PagesTest {
  private final Lines lines = new Lines(1, false);
  private final List<String> complaints = new ArrayList<>();

  private Pages pages(Path directory) {
    return new Pages(directory, complaints::add);
  }

  @Test
  void shouldFindEachPageAmongFilesOfOthers(@TempDir Path folder) throws Exception {
    Path directory = folder.resolve("lines");
    Pages pages = pages(directory);
    assertThat(pages.numbers()).isEmpty();
    pages.save(lines.a.line, 11);
    pages.save(lines.b.line, 12);
    // In whatever order they are listed: some come before ours.
    for (int i = 0; i < 100; i++) {
      Files.createFile(directory.resolve("note" + i));
    }
    for (String name : List.of("+0000003", "3", "0000000A", "000000003", ".0000003")) {
      Files.createFile(directory.resolve(name));
    }
    assertThat(pages.numbers()).containsExactlyInAnyOrder(1, 2);
    assertThat(pages.load(1, NoProgram.HERE).inode()).isEqualTo(11);
    pages.remove(1);
    assertThat(pages.numbers()).containsExactly(2);
    assertThat(complaints).isEmpty();
  }

  /** Settings may have changed since a line was made: the page tells of its own segment. */
  @Test
  void shouldKeepTheSizesOfTheLinesOwnSegment(@TempDir Path folder) {
    Pages pages = pages(folder);
    pages.save(lines.a.line, 11);
    Pages.Page page = pages.load(1, NoProgram.HERE);
    assertThat(page.ringSize()).isEqualTo(Lines.RING);
    assertThat(page.overSize()).isEqualTo(Lines.OVER);
  }

  @Test
  void shouldSayThatAPageIsOfAnotherVersion(@TempDir Path folder) throws Exception {
    Pages pages = pages(folder);
    pages.save(lines.a.line, 11);
    Path file = folder.resolve("00000001");
    byte[] other = Files.readAllBytes(file);
    other[7] = 9;
    Files.write(file, other);
    assertThat(pages.load(1, NoProgram.HERE)).isNull();
    assertThat(complaints).singleElement().asString().contains("version 9");
  }

  @Test
  void shouldNotBelieveAPageThatIsNotWhole(@TempDir Path folder) throws Exception {
    Pages pages = pages(folder);
    pages.save(lines.a.line, 11);
    Path file = folder.resolve("00000001");
    byte[] whole = Files.readAllBytes(file);
    for (int at : new int[] {0, 4, 8, 12, 20, whole.length - 1}) {
      byte[] other = whole.clone();
      other[at] ^= 1;
      Files.write(file, other);
      assertThat(pages.load(1, NoProgram.HERE)).as("byte %s", at).isNull();
    }
    Files.write(file, whole);
    assertThat(pages.load(1, NoProgram.HERE)).isNotNull();
    assertThat(pages.load(2, NoProgram.HERE)).isNull();
  }
}
