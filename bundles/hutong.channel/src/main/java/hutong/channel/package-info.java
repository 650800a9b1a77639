// SPDX-License-Identifier: Apache-2.0
/** The channel table (M1.2) and the segments (M5.3): what the intercept builds connections from. */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.0.0")
package hutong.channel;
