// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.AgentConfig;
import hutong.api.os.Fd;
import hutong.platform.OsException;
import hutong.platform.Xen;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.SortedSet;
import java.util.TreeSet;
import jnr.ffi.LibraryLoader;
import org.osgi.framework.BundleContext;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;

/**
 * {@link Xen} by libhutong_xen.so, which is looked for when it is first needed. {@code
 * hutong.xen.library} names it; without that it is searched where libraries are.
 */
@Component(service = Xen.class)
public final class NativeXen implements Xen {
  private static final int ENOSYS = 38;
  private static final int MOST_DOMAINS = 4096;
  private static final List<String> DEVICES = List.of("gntalloc", "gntdev", "evtchn");

  private final String name;
  private LibXen library;
  private boolean missing;

  /** Reads where the library is; loads nothing yet. */
  @Activate
  public NativeXen(BundleContext context) {
    this(new AgentConfig(context::getProperty).text("hutong.xen.library", "hutong_xen"));
  }

  /** For tests: a path, or a name as the loader knows it. */
  NativeXen(String name) {
    this.name = name;
  }

  private synchronized LibXen library() throws OsException {
    if (library == null && !missing) {
      try {
        LibXen found = LibraryLoader.create(LibXen.class).failImmediately().load(name);
        missing = found.hutong_xen_version() != LibXen.VERSION;
        library = missing ? null : found;
      } catch (LinkageError e) {
        missing = true;
      }
    }
    if (library == null) {
      throw LibC.failure("load " + name, ENOSYS);
    }
    return library;
  }

  private static int check(String call, int result) throws OsException {
    if (result < 0) {
      throw LibC.failure(call, -result);
    }
    return result;
  }

  @Override
  public boolean available() {
    try {
      library();
    } catch (OsException e) {
      return false;
    }
    return DEVICES.stream().allMatch(device -> Files.isWritable(Path.of("/dev/xen", device)));
  }

  @Override
  public Grant grant(int domid, int pages) throws OsException {
    int[] references = new int[pages];
    int fd =
        check(
            "grant " + pages + " pages to domain " + domid,
            library().hutong_xen_grant(domid, pages, references));
    return new Grant(new OwnedFd(fd), Arrays.stream(references).boxed().toList());
  }

  @Override
  public Fd map(int domid, List<Integer> references) throws OsException {
    int[] array = references.stream().mapToInt(Integer::intValue).toArray();
    return new OwnedFd(
        check(
            "map " + array.length + " pages of domain " + domid,
            library().hutong_xen_map(domid, array.length, array)));
  }

  @Override
  public EventChannel event(int domid) throws OsException {
    int[] port = new int[1];
    int fd = check("event channel to domain " + domid, library().hutong_xen_event_new(domid, port));
    return new EventChannel(new OwnedFd(fd), port[0]);
  }

  @Override
  public EventChannel bind(int domid, int remotePort) throws OsException {
    int[] port = new int[1];
    int fd =
        check(
            "bind event channel " + remotePort + " of domain " + domid,
            library().hutong_xen_event_bind(domid, remotePort, port));
    return new EventChannel(new OwnedFd(fd), port[0]);
  }

  @Override
  public SortedSet<Integer> domains() throws OsException {
    int[] domids = new int[MOST_DOMAINS];
    int count = check("list of domains", library().hutong_xen_domains(domids, MOST_DOMAINS));
    TreeSet<Integer> out = new TreeSet<>();
    Arrays.stream(domids, 0, count).forEach(out::add);
    return Collections.unmodifiableSortedSet(out);
  }
}
