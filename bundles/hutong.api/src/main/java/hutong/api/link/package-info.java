// SPDX-License-Identifier: Apache-2.0
/**
 * Messages and descriptors between the agents of one host, through the host agent (architecture,
 * decision 5), and messages between the agents of different hosts (decision 10).
 */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.2.0")
package hutong.api.link;
