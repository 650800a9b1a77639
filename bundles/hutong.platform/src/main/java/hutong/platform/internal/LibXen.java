// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import jnr.ffi.annotations.Out;

/** The calls of libhutong_xen.so; see its header. Results are not negative, or -errno. */
@SuppressWarnings("checkstyle:MethodName")
public interface LibXen {
  /** Of the header that this was written for. */
  int VERSION = 1;

  int hutong_xen_version();

  int hutong_xen_grant(int domid, int count, @Out int[] references);

  int hutong_xen_map(int domid, int count, int[] references);

  int hutong_xen_event_new(int domid, @Out int[] port);

  int hutong_xen_event_bind(int domid, int remote, @Out int[] port);

  int hutong_xen_domains(@Out int[] domids, int max);
}
