// SPDX-License-Identifier: Apache-2.0
/** Which VMs take part in the cluster (M4, M5.1). */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("2.1.0")
package hutong.api.discovery;
