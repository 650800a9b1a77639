// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.platform.OsException;
import hutong.platform.Xen;
import java.util.List;
import org.junit.jupiter.api.Test;

class NativeXenTest {
  private static final int ENOSYS = 38;

  @Test
  void aLibraryThatIsMissingIsNoXen() {
    Xen xen = new NativeXen("/nowhere/libhutong_xen.so");
    assertThat(xen.available()).isFalse();
    for (int i = 0; i < 2; i++) {
      assertThatThrownBy(() -> xen.grant(1, 1))
          .isInstanceOfSatisfying(OsException.class, e -> assertThat(e.errno()).isEqualTo(ENOSYS));
    }
    assertThatThrownBy(() -> xen.map(1, List.of(1))).isInstanceOf(OsException.class);
    assertThatThrownBy(() -> xen.event(1)).isInstanceOf(OsException.class);
    assertThatThrownBy(() -> xen.bind(1, 1)).isInstanceOf(OsException.class);
    assertThatThrownBy(xen::domains).isInstanceOf(OsException.class);
  }
}
