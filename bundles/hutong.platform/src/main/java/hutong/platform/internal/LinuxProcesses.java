// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.OsException;
import hutong.platform.Processes;
import hutong.platform.SocketFacts;
import java.nio.charset.StandardCharsets;
import jnr.ffi.Pointer;
import org.osgi.service.component.annotations.Component;

/** {@link Processes} on Linux. */
@Component(service = Processes.class)
public final class LinuxProcesses implements Processes {
  private static final int MAX_LINK = 4096;

  @Override
  public Fd pidfdOpen(int pid) throws OsException {
    long fd = LibC.INSTANCE.syscall(LibC.SYS_PIDFD_OPEN, pid, 0, 0);
    return new OwnedFd((int) LibC.check("pidfd_open " + pid, fd));
  }

  private static final int F_DUPFD_CLOEXEC = 1030;

  @Override
  public Fd pidfdGetfd(Fd pidfd, int fd) throws OsException {
    long copy = LibC.INSTANCE.syscall(LibC.SYS_PIDFD_GETFD, pidfd.number(), fd, 0);
    return new OwnedFd((int) LibC.check("pidfd_getfd " + fd, copy));
  }

  @Override
  public SocketFacts inspectSocket(int pid, int fd) throws OsException {
    try (Fd process = pidfdOpen(pid);
        Fd socket = pidfdGetfd(process, fd)) {
      return SocketReader.read(socket.number());
    }
  }

  @Override
  public Fd duplicate(Fd fd) throws OsException {
    int copy = LibC.INSTANCE.fcntl(fd.number(), F_DUPFD_CLOEXEC, 0);
    return new OwnedFd(LibC.check("fcntl to duplicate a descriptor", copy));
  }

  @Override
  public String describe(Fd fd) throws OsException {
    Pointer p = Scratch.get(MAX_LINK, 0);
    byte[] path = LibC.cstring("/proc/self/fd/" + fd.number());
    byte[] out = new byte[(int) LibC.check("readlink", LibC.INSTANCE.readlink(path, p, MAX_LINK))];
    p.get(0, out, 0, out.length);
    return new String(out, StandardCharsets.UTF_8);
  }
}
