// SPDX-License-Identifier: Apache-2.0
/** Channels: the shared memory between two ends of a connection (M1.2, M5). */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.2.0")
package hutong.api.channel;
