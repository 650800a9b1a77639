// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What /proc tells about processes. They come and go while one looks: what cannot be read is left
 * out.
 */
final class ProcFs {
  private final Path root;

  /** Reads below the given directory, {@code /proc}. */
  ProcFs(Path root) {
    this.root = root;
  }

  /**
   * A descriptor of a process.
   *
   * @param pid the process
   * @param fd its number there
   * @param target what it is, as /proc has it
   */
  record Descriptor(int pid, int fd, String target) {}

  /** All processes in sight. */
  List<Integer> pids() {
    return numbers(root);
  }

  /** The descriptors of a process. */
  List<Descriptor> descriptors(int pid) {
    return descriptors(pid, Integer.MAX_VALUE);
  }

  /** The first descriptors of a process, no more than so many. */
  List<Descriptor> descriptors(int pid, int most) {
    Path dir = root.resolve(pid + "/fd");
    List<Descriptor> out = new ArrayList<>();
    for (int fd : numbers(dir, most)) {
      String target = link(dir.resolve(Integer.toString(fd)));
      if (target != null) {
        out.add(new Descriptor(pid, fd, target));
      }
    }
    return out;
  }

  /** Whether there is such a process, or thread. */
  boolean exists(int pid) {
    return Files.exists(root.resolve(Integer.toString(pid)));
  }

  /** The network namespace of a process, null if it cannot be told. */
  String networkNamespace(String pid) {
    return link(root.resolve(pid + "/ns/net"));
  }

  /** The file behind a descriptor, by its inode number; -1 if it is gone. */
  long inode(Descriptor descriptor) {
    return attribute(root.resolve(descriptor.pid() + "/fd/" + descriptor.fd()), "unix:ino", -1);
  }

  /** The user of a process; -1 if it is gone. */
  int uid(int pid) {
    return (int) attribute(root.resolve(Integer.toString(pid)), "unix:uid", -1);
  }

  /** The name of a process; "?" if it is gone. */
  String program(int pid) {
    try {
      return Files.readString(root.resolve(pid + "/comm"), StandardCharsets.ISO_8859_1).trim();
    } catch (IOException e) {
      return "?";
    }
  }

  /**
   * The names by which a policy may mean a process: the command's, and that of the executable. Of a
   * script the latter is its interpreter's.
   */
  List<String> names(int pid) {
    List<String> out = new ArrayList<>();
    String command = program(pid);
    if (!command.equals("?")) {
      out.add(command);
    }
    String executable = link(root.resolve(pid + "/exe"));
    if (executable != null) {
      String name = executable.substring(executable.lastIndexOf('/') + 1);
      String gone = " (deleted)";
      out.add(name.endsWith(gone) ? name.substring(0, name.length() - gone.length()) : name);
    }
    return out;
  }

  /** A variable of the environment that a process was started with; null if it has none. */
  String environment(int pid, String name) {
    try {
      String all = Files.readString(root.resolve(pid + "/environ"), StandardCharsets.ISO_8859_1);
      for (String entry : all.split("\0")) {
        if (entry.startsWith(name + "=")) {
          return entry.substring(name.length() + 1);
        }
      }
    } catch (IOException e) {
      // gone
    }
    return null;
  }

  /** The user that owns a descriptor's file or socket; -1 if it is gone. */
  int owner(int pid, int fd) {
    return (int) attribute(root.resolve(pid + "/fd/" + fd), "unix:uid", -1);
  }

  /** What a descriptor of a process is, as /proc has it; null if it is not open. */
  String target(int pid, int fd) {
    return link(root.resolve(pid + "/fd/" + fd));
  }

  /** Whether a process has a file of that name mapped. */
  boolean maps(int pid, String fileName) {
    try (var lines = Files.lines(root.resolve(pid + "/maps"), StandardCharsets.ISO_8859_1)) {
      return lines.anyMatch(line -> line.contains("/" + fileName));
    } catch (IOException | UncheckedIOException e) {
      return false;
    }
  }

  /**
   * One process for each of the sockets, by inode number; sockets that nobody holds are left out.
   */
  Map<Long, Integer> owners(Set<Long> inodes) {
    Map<Long, Integer> out = new HashMap<>();
    if (inodes.isEmpty()) {
      return out;
    }
    for (int pid : pids()) {
      for (Descriptor descriptor : descriptors(pid)) {
        String target = descriptor.target();
        if (target.startsWith("socket:[")) {
          long inode = Long.parseLong(target.substring(8, target.length() - 1));
          if (inodes.contains(inode)) {
            out.putIfAbsent(inode, pid);
          }
        }
      }
      if (out.size() == inodes.size()) {
        break;
      }
    }
    return out;
  }

  private static List<Integer> numbers(Path dir) {
    return numbers(dir, Integer.MAX_VALUE);
  }

  private static List<Integer> numbers(Path dir, int most) {
    List<Integer> out = new ArrayList<>();
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(dir)) {
      for (Path entry : entries) {
        String name = entry.getFileName().toString();
        if (out.size() == most) {
          break;
        }
        if (!name.isEmpty()
            && name.length() < 10
            && name.chars().allMatch(c -> c >= '0' && c <= '9')) {
          out.add(Integer.parseInt(name));
        }
      }
    } catch (IOException | DirectoryIteratorException e) {
      // gone, or not ours to see: what was read until then counts
    }
    return out;
  }

  private static String link(Path path) {
    try {
      return Files.readSymbolicLink(path).toString();
    } catch (IOException e) {
      return null;
    }
  }

  private static long attribute(Path path, String name, long whenGone) {
    try {
      return ((Number) Files.getAttribute(path, name)).longValue();
    } catch (IOException e) {
      return whenGone;
    }
  }
}
