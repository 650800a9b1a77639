// SPDX-License-Identifier: Apache-2.0
/** Connections between hosts over the light protocol (M3, architecture, decisions 7 and 11). */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("4.0.0")
package hutong.api.transport;
