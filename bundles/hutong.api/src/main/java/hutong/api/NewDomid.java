// SPDX-License-Identifier: Apache-2.0
package hutong.api;

/**
 * Marker service: this VM has become another domain (on Xen by a restore or a move), whose id is
 * its service property {@link #DOMID}. The launcher ends the framework and starts it anew with that
 * id, since much was built upon the old one.
 */
public interface NewDomid {
  /** Service property: the domain id now, as text. */
  String DOMID = "hutong.domid.now";
}
