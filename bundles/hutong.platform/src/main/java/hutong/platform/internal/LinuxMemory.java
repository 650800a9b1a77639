// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.OsException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import jnr.ffi.Pointer;
import org.osgi.service.component.annotations.Component;

/** {@link Memory} on Linux. */
@Component(service = Memory.class)
public final class LinuxMemory implements Memory {
  private static final int AT_EMPTY_PATH = 0x1000;
  private static final int STATX_SIZE = 0x200;
  private static final int SIZEOF_STATX = 256;
  private static final int STX_SIZE = 40;
  private static final int STATX_INO = 0x100;
  private static final int STX_INO = 32;
  private static final int O_RDWR = 2;
  private static final int PROT_READ = 1;
  private static final int PROT_WRITE = 2;
  private static final int MAP_SHARED = 1;

  @Override
  public Fd memfdCreate(String name, long size, int seals) throws OsException {
    int flags = LibC.MFD_CLOEXEC | LibC.MFD_ALLOW_SEALING;
    Fd fd =
        new OwnedFd(
            LibC.check("memfd_create", LibC.INSTANCE.memfd_create(LibC.cstring(name), flags)));
    try {
      LibC.check("ftruncate", LibC.INSTANCE.ftruncate(fd.number(), size));
      if (seals != 0) {
        LibC.check("fcntl F_ADD_SEALS", LibC.INSTANCE.fcntl(fd.number(), LibC.F_ADD_SEALS, seals));
      }
      return fd;
    } catch (OsException | RuntimeException e) {
      fd.close();
      throw e;
    }
  }

  @Override
  public int seals(Fd fd) throws OsException {
    return LibC.check("fcntl F_GET_SEALS", LibC.INSTANCE.fcntl(fd.number(), LibC.F_GET_SEALS, 0));
  }

  @Override
  public long size(Fd fd) throws OsException {
    return statx(fd, STATX_SIZE, STX_SIZE);
  }

  private static long statx(Fd fd, int mask, int offset) throws OsException {
    Pointer p = Scratch.get(SIZEOF_STATX);
    byte[] self = {0};
    LibC.check("statx", LibC.INSTANCE.statx(fd.number(), self, AT_EMPTY_PATH, mask, p));
    return p.getLong(offset);
  }

  @Override
  public long inode(Fd fd) throws OsException {
    return statx(fd, STATX_INO, STX_INO);
  }

  @Override
  public Fd openMapped(int pid, long inode, String name) throws OsException {
    String range = null;
    try (var lines = Files.lines(Path.of("/proc/" + pid + "/maps"), StandardCharsets.ISO_8859_1)) {
      // from-to permissions offset device inode name
      range =
          lines
              .map(line -> line.split(" +", 6))
              .filter(f -> f.length == 6 && f[5].startsWith(name))
              .filter(f -> f[4].equals(Long.toString(inode)))
              .map(f -> f[0])
              .findFirst()
              .orElse(null);
    } catch (IOException | UncheckedIOException e) {
      return null; // the process is gone
    }
    if (range == null) {
      return null;
    }
    byte[] path = LibC.cstring("/proc/" + pid + "/map_files/" + range);
    return new OwnedFd(LibC.check("open", LibC.INSTANCE.open(path, O_RDWR | LibC.O_CLOEXEC, 0)));
  }

  @Override
  public Mapping map(Fd fd, long size, boolean writable) throws OsException {
    if (size < 1 || size > Integer.MAX_VALUE) {
      throw new IllegalArgumentException("a mapping of " + size + " bytes");
    }
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    long address = LibC.INSTANCE.mmap(null, size, protection, MAP_SHARED, fd.number(), 0);
    if (address == -1) {
      throw LibC.failure("mmap");
    }
    return new MappedMemory(address, (int) size, writable);
  }

  @Override
  public Fd reopenReadOnly(Fd fd) throws OsException {
    byte[] path = LibC.cstring("/proc/self/fd/" + fd.number());
    return new OwnedFd(
        LibC.check("open", LibC.INSTANCE.open(path, LibC.O_RDONLY | LibC.O_CLOEXEC, 0)));
  }
}
