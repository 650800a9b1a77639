// SPDX-License-Identifier: Apache-2.0
/**
 * Messages and descriptors between the agents of one host, through the host agent (architecture,
 * decision 5).
 */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.0.0")
package hutong.api.link;
