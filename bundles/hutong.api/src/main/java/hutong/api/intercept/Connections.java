// SPDX-License-Identifier: Apache-2.0
package hutong.api.intercept;

import java.util.List;

/** The intercepted connections, for display. Safe for use by several threads. */
public interface Connections {
  /** The connections known now. */
  List<ConnectionInfo> list();
}
