// SPDX-License-Identifier: Apache-2.0
/**
 * Access to the XenStore of the host (M1.4, M4.1): the host's own on Xen, the embedded one of the
 * host agent elsewhere. Both are reached through libxenstore, so that there is one code path
 * (architecture, decision 9).
 */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.0.0")
package hutong.xenstore;
