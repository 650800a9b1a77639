// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import java.util.concurrent.atomic.AtomicInteger;

/** A descriptor that this process opened or received. */
final class OwnedFd implements Fd {
  private final AtomicInteger number;

  OwnedFd(int number) {
    this.number = new AtomicInteger(number);
  }

  @Override
  public int number() {
    int n = number.get();
    if (n < 0) {
      throw new IllegalStateException("the descriptor is closed");
    }
    return n;
  }

  @Override
  public boolean isOpen() {
    return number.get() >= 0;
  }

  @Override
  public void close() {
    int n = number.getAndSet(-1);
    if (n >= 0) {
      LibC.INSTANCE.close(n); // Linux frees the number whatever the result
    }
  }

  @Override
  public String toString() {
    return "fd " + number.get();
  }
}
